/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <curl/curl.h>
#include <errno.h>
#include <openssl/x509_vfy.h>
#include <stdarg.h>
#include <string.h>

#include "agent/cli/http.h"
#include "agent/common/strictjson.h"
#include "agent/common/text.h"
#include "agent/common/url.h"

#define CONNECT_SECONDS 15L
#define HEADER_BYTES_MAX (64 * 1024)

struct http {
	CURL *curl;
	char *url; /* without a slash at its end */
	char *ca;
	char *authorization; /* a header, or NULL */
};

struct received {
	char *bytes;
	size_t n_bytes;
	size_t n_header_bytes;
	bool too_large;
};

DEFINE_CLEANUP(struct curl_slist *, curl_slist_free_all)

const char *http_url_reason(const char *url)
{
	return strchr(url, '?') ? "has a query (\"?\")" : url_reason(url);
}

static char *url_copy(const char *url)
{
	size_t n = strlen(url);

	while (n > 0 && url[n - 1] == '/')
		n--;
	return strndup(url, n);
}

int http_new(const char *url, const char *ca, const char *token, struct http **ret)
{
	_cleanup_(http_freep) struct http *http = calloc(1, sizeof(*http));

	if (!http)
		return -ENOMEM;
	http->curl = curl_easy_init();
	http->url = url_copy(url);
	http->ca = ca ? strdup(ca) : NULL;
	if (!http->curl || !http->url || (ca && !http->ca))
		return -ENOMEM;
	if (token && asprintf(&http->authorization, "Authorization: Bearer %s", token) < 0) {
		http->authorization = NULL;
		return -ENOMEM;
	}
	*ret = TAKE_PTR(http);
	return 0;
}

struct http *http_free(struct http *http)
{
	if (!http)
		return NULL;
	if (http->authorization)
		explicit_bzero(http->authorization, strlen(http->authorization));
	free(http->authorization);
	curl_easy_cleanup(http->curl);
	free(http->url);
	free(http->ca);
	free(http);
	return NULL;
}

const char *http_url(const struct http *http)
{
	return http->url;
}

static size_t on_body(char *data, size_t size, size_t n, void *userdata)
{
	struct received *received = userdata;
	size_t n_data = size * n;
	char *bytes;

	if (n_data > HTTP_BODY_BYTES_MAX - received->n_bytes) {
		received->too_large = true;
		return 0;
	}
	bytes = realloc(received->bytes, received->n_bytes + n_data + 1);
	if (!bytes)
		return 0;
	memcpy(bytes + received->n_bytes, data, n_data);
	received->bytes = bytes;
	received->n_bytes += n_data;
	bytes[received->n_bytes] = '\0';
	return n_data;
}

static size_t on_header(char *data, size_t size, size_t n, void *userdata)
{
	struct received *received = userdata;

	(void)data;
	received->n_header_bytes += size * n;
	received->too_large = received->n_header_bytes > HEADER_BYTES_MAX;
	return received->too_large ? 0 : size * n;
}

_printf_(3, 4) static int fail(struct http_answer *answer, int error, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(answer->error, sizeof(answer->error), format, list);
	va_end(list);
	text_make_printable(answer->error);
	return error;
}

/* Whether there is nothing wrong with a certificate but who signed it. */
static bool authority_is_unknown(const struct http *http)
{
	long result = 0;

	curl_easy_getinfo(http->curl, CURLINFO_SSL_VERIFYRESULT, &result);
	switch (result) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		return true;
	}
	return false;
}

static int explain(const struct http *http, CURLcode code, const char *detail,
	const struct received *received, struct http_answer *answer)
{
	const char *reason = detail[0] ? detail : curl_easy_strerror(code);

	if (received->too_large)
		return fail(answer, HTTP_BROKEN,
			"%s answers with more than is read from a control plane", http->url);
	switch (code) {
	case CURLE_OUT_OF_MEMORY:
		return fail(answer, HTTP_NO_CURL, "out of memory");
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return fail(answer, HTTP_UNREACHABLE, "%s: there is no such host (%s)", http->url,
			reason);
	case CURLE_COULDNT_CONNECT:
		return fail(answer, HTTP_UNREACHABLE, "%s does not answer: %s", http->url, reason);
	case CURLE_OPERATION_TIMEDOUT:
		return fail(answer, HTTP_UNREACHABLE, "%s did not answer in time (%s)", http->url,
			reason);
	case CURLE_PEER_FAILED_VERIFICATION:
		return fail(answer, HTTP_UNTRUSTED, "the certificate of %s is not trusted (%s)%s",
			http->url, reason,
			authority_is_unknown(http)
				? ": if its authority is your own, give its certificate with --ca "
				  "FILE"
				: "");
	case CURLE_SSL_CACERT_BADFILE:
		return http->ca
			? fail(answer, HTTP_UNTRUSTED,
				  "%s: no certificates can be read from it (%s)", http->ca, reason)
			: fail(answer, HTTP_UNTRUSTED,
				  "this system has no authorities that it trusts (%s): install "
				  "ca-certificates, or give your own authority's certificate "
				  "with --ca FILE",
				  reason);
	case CURLE_SSL_CONNECT_ERROR:
		/* Also what a server does that is just going away. */
		return fail(answer, HTTP_BROKEN,
			"%s does not speak TLS as it should (1.2 or newer): %s", http->url, reason);
	default:
		return fail(answer, HTTP_BROKEN, "%s: %s", http->url, reason);
	}
}

static CURLcode set_protocols(CURL *curl, bool plain)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	return curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, plain ? "http" : "https");
#else
	return curl_easy_setopt(
		curl, CURLOPT_PROTOCOLS, (long)(plain ? CURLPROTO_HTTP : CURLPROTO_HTTPS));
#endif
}

static bool set_options(const struct http *http, const char *url, const char *method,
	const struct curl_slist *headers, const char *body, long seconds)
{
	bool plain = url_is_plain(http->url);
	CURL *curl = http->curl;
	bool failed = set_protocols(curl, plain) != CURLE_OK;

#define SET(option, value) failed = failed || curl_easy_setopt(curl, option, value) != CURLE_OK
	SET(CURLOPT_URL, url);
	SET(CURLOPT_CUSTOMREQUEST, method);
	SET(CURLOPT_HTTPHEADER, headers);
	SET(CURLOPT_USERAGENT, "jitgate/" JITGATE_VERSION);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
	SET(CURLOPT_TIMEOUT, seconds);
	/* A proxy sees what goes without TLS, and has no business on loopback. */
	if (plain)
		SET(CURLOPT_NOPROXY, "*");
	if (http->ca) {
		/* In place of the system's directory too. */
		SET(CURLOPT_CAINFO, http->ca);
		SET(CURLOPT_CAPATH, NULL);
	}
	if (body) {
		SET(CURLOPT_POSTFIELDS, body);
		SET(CURLOPT_POSTFIELDSIZE, (long)strlen(body));
	}
#undef SET
	return !failed;
}

/* Takes what was received, and reads it. */
static int answer_read(
	const struct http *http, struct received *received, struct http_answer *answer)
{
	curl_off_t retry_after = 0;
	char reason[128], *redirect = NULL;
	int r;

	curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &answer->status);
	curl_easy_getinfo(http->curl, CURLINFO_RETRY_AFTER, &retry_after);
	curl_easy_getinfo(http->curl, CURLINFO_REDIRECT_URL, &redirect);
	answer->retry_after = retry_after;
	answer->text = TAKE_PTR(received->bytes);
	answer->n_bytes = received->n_bytes;
	if (answer->status >= 300 && answer->status < 400)
		return fail(answer, HTTP_BROKEN,
			"%s sends us on to %s, which is not followed: give the control plane's own "
			"URL",
			http->url, redirect ? redirect : "another place");
	if (answer->n_bytes == 0)
		return 0;
	r = json_parse_object(answer->text, answer->n_bytes, &answer->body, reason, sizeof(reason));
	/* What a proxy says of a failure is a page for people. */
	if (r < 0 && answer->status < 400)
		return fail(answer, HTTP_BROKEN,
			"%s does not answer as a control plane does (status %ld, %s): is the URL "
			"right?",
			http->url, answer->status, reason);
	return 0;
}

static struct curl_slist *headers_new(const struct http *http, bool with_body)
{
	const char *const lines[] = {
		"Accept: application/json",
		"Expect:", /* bodies are small */
		with_body ? "Content-Type: application/json" : NULL,
		http->authorization,
	};
	_cleanup_(curl_slist_free_allp) struct curl_slist *headers = NULL;

	for (size_t i = 0; i < N_ELEMENTS(lines); i++) {
		struct curl_slist *longer;

		if (!lines[i])
			continue;
		longer = curl_slist_append(headers, lines[i]);
		if (!longer)
			return NULL;
		headers = longer;
	}
	return TAKE_PTR(headers);
}

static int perform(struct http *http, struct http_answer *answer)
{
	char detail[CURL_ERROR_SIZE] = "";
	struct received received = { 0 };
	CURLcode code;
	int r;

	curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, detail);
	curl_easy_setopt(http->curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(http->curl, CURLOPT_WRITEDATA, &received);
	curl_easy_setopt(http->curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(http->curl, CURLOPT_HEADERDATA, &received);
	code = curl_easy_perform(http->curl);
	r = code == CURLE_OK ? answer_read(http, &received, answer)
			     : explain(http, code, detail, &received, answer);
	free(received.bytes);
	return r;
}

int http_call(struct http *http, const char *method, const char *path, const json_t *body,
	long seconds, struct http_answer *answer)
{
	_cleanup_(curl_slist_free_allp) struct curl_slist *headers =
		headers_new(http, body != NULL);
	_cleanup_(freep) char *url = NULL, *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	int r;

	*answer = (struct http_answer){ 0 };
	if (asprintf(&url, "%s%s", http->url, path) < 0)
		url = NULL;
	/* Keeps the connection. */
	curl_easy_reset(http->curl);
	if (!url || !headers || (body && !text) ||
		!set_options(http, url, method, headers, text, seconds))
		return fail(answer, HTTP_NO_CURL, "libcurl can't do what is asked of it");
	r = perform(http, answer);
	if (r != 0) {
		/* The sentence stays. */
		json_decref(answer->body);
		free(answer->text);
		answer->body = NULL;
		answer->text = NULL;
	}
	curl_easy_reset(http->curl);
	return r;
}

void http_answer_done(struct http_answer *answer)
{
	json_decref(answer->body);
	if (answer->text)
		explicit_bzero(answer->text, answer->n_bytes);
	free(answer->text);
	answer->body = NULL;
	answer->text = NULL;
}
