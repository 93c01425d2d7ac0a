/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * libcurl tells which sockets it waits for, and until when; each becomes an event source. What
 * happened is told back to it, and then it is asked what has come to an end.
 *
 *   curl ── on_socket, on_timer ──▶ sd_event sources
 *   sources ── curl_multi_socket_action() ──▶ curl ── curl_multi_info_read() ──▶ requests that are
 *   over
 */

#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/common/text.h"
#include "agent/common/times.h"
#include "agent/common/url.h"
#include "agent/poll/credential.h"
#include "agent/poll/transport.h"

#define CONNECT_TIMEOUT_MS 10000L
#define CONNECTIONS_MAX 4L
#define HEADER_BYTES_MAX (64 * 1024)
#define VALUE_BYTES_MAX 256 /* of a header that is kept */
#define KEEPALIVE_SECONDS 20L
#define TIMER_ACCURACY_USEC 1000
#define BODY_TOO_LARGE "the answer is larger than any should be"

struct transport {
	sd_event *event;
	const struct config_feed *feed;
	CURLM *multi;
	sd_event_source *timer;
};

struct request {
	struct transport *transport;
	CURL *easy;
	struct curl_slist *headers;
	bool under_way;
	void (*on_response)(const struct response *response, void *userdata);
	void *userdata;

	char *sent; /* a body, until it is answered */
	char *body;
	size_t n_bytes, n_capacity, n_bytes_max;
	size_t n_header_bytes;
	char etag[VALUE_BYTES_MAX], retry_after[VALUE_BYTES_MAX], location[VALUE_BYTES_MAX];
	char error[CURL_ERROR_SIZE];
	const char *too_much; /* what was over its bound, or NULL */
};

static void request_forget(struct request *request)
{
	curl_slist_free_all(TAKE_PTR(request->headers));
	free(TAKE_PTR(request->sent));
	free(TAKE_PTR(request->body));
	request->n_bytes = request->n_capacity = request->n_header_bytes = 0;
	request->etag[0] = request->retry_after[0] = request->location[0] = '\0';
	request->error[0] = '\0';
	request->too_much = NULL;
}

static void request_finish(struct request *request, CURLcode result)
{
	struct response response = {};
	char error[TRANSPORT_ERROR_MAX];
	char *content_type = NULL;
	void *body, *sent;

	request->under_way = false;
	if (result == CURLE_FILESIZE_EXCEEDED)
		request->too_much = BODY_TOO_LARGE;
	if (result == CURLE_OK) {
		curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &response.status);
		curl_easy_getinfo(request->easy, CURLINFO_CONTENT_TYPE, &content_type);
	}
	if (response.status == 0) {
		snprintf(error, sizeof(error), "%.240s",
			request->too_much           ? request->too_much
				: request->error[0] ? request->error
						    : curl_easy_strerror(result));
		text_make_printable(error);
		response.error = error;
	}
	response.body = request->body;
	response.n_bytes = request->n_bytes;
	response.content_type = content_type;
	response.etag = request->etag[0] ? request->etag : NULL;
	response.retry_after = request->retry_after[0] ? request->retry_after : NULL;
	response.location = request->location[0] ? request->location : NULL;
	/* The callback may ask again, which begins with forgetting this answer. */
	body = TAKE_PTR(request->body);
	sent = TAKE_PTR(request->sent);
	request->on_response(&response, request->userdata);
	free(body);
	free(sent);
}

static void transport_collect(struct transport *transport)
{
	CURLMsg *message;
	int n_left;

	while ((message = curl_multi_info_read(transport->multi, &n_left))) {
		struct request *request = NULL;
		CURLcode result = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
		curl_multi_remove_handle(transport->multi, message->easy_handle);
		request_finish(request, result);
	}
}

static int transport_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct transport *transport = userdata;
	int action = 0, n_running;

	(void)source;
	if (events & EPOLLIN)
		action |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		action |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		action |= CURL_CSELECT_ERR;
	curl_multi_socket_action(transport->multi, fd, action, &n_running);
	transport_collect(transport);
	return 0;
}

static int transport_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct transport *transport = userdata;
	int n_running;

	(void)source, (void)usec;
	curl_multi_socket_action(transport->multi, CURL_SOCKET_TIMEOUT, 0, &n_running);
	transport_collect(transport);
	return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_data)
{
	struct transport *transport = userdata;
	sd_event_source *source = socket_data;
	uint32_t events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		sd_event_source_disable_unref(source);
		curl_multi_assign(transport->multi, fd, NULL);
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		events |= EPOLLOUT;
	if (source)
		return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;
	if (sd_event_add_io(transport->event, &source, fd, events, transport_on_io, transport) < 0)
		return -1;
	curl_multi_assign(transport->multi, fd, source);
	return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *userdata)
{
	struct transport *transport = userdata;

	(void)multi;
	if (timeout_ms < 0)
		return sd_event_source_set_enabled(transport->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
	if (sd_event_source_set_time_relative(
		    transport->timer, (uint64_t)timeout_ms * USEC_PER_MSEC) < 0)
		return -1;
	return sd_event_source_set_enabled(transport->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

int transport_new(sd_event *event, const struct config_feed *feed, struct transport **ret)
{
	_cleanup_(transport_freep) struct transport *transport = calloc(1, sizeof(*transport));
	int r;

	if (!transport)
		return -ENOMEM;
	transport->event = sd_event_ref(event);
	transport->feed = feed;
	r = sd_event_add_time_relative(event, &transport->timer, CLOCK_BOOTTIME, 0,
		TIMER_ACCURACY_USEC, transport_on_timer, transport);
	if (r == 0)
		r = sd_event_source_set_enabled(transport->timer, SD_EVENT_OFF);
	if (r < 0)
		return r;
	transport->multi = curl_multi_init();
	if (!transport->multi)
		return -ENOMEM;
	curl_multi_setopt(transport->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(transport->multi, CURLMOPT_SOCKETDATA, transport);
	curl_multi_setopt(transport->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(transport->multi, CURLMOPT_TIMERDATA, transport);
	curl_multi_setopt(transport->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX);
	curl_multi_setopt(transport->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, CONNECTIONS_MAX);
	*ret = TAKE_PTR(transport);
	return 0;
}

struct transport *transport_free(struct transport *transport)
{
	if (!transport)
		return NULL;
	/* Closing its connections, it gives back their sources. */
	if (transport->multi)
		curl_multi_cleanup(transport->multi);
	sd_event_source_disable_unref(transport->timer);
	sd_event_unref(transport->event);
	free(transport);
	return NULL;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *userdata)
{
	struct request *request = userdata;
	size_t n_new = size * n;

	if (n_new > request->n_bytes_max - request->n_bytes) {
		request->too_much = BODY_TOO_LARGE;
		return 0;
	}
	if (request->n_bytes + n_new > request->n_capacity) {
		size_t n_capacity = request->n_capacity ? request->n_capacity : 4096;
		char *grown;

		while (n_capacity < request->n_bytes + n_new)
			n_capacity *= 2;
		grown = realloc(request->body, n_capacity);
		if (!grown)
			return 0;
		request->body = grown;
		request->n_capacity = n_capacity;
	}
	memcpy(request->body + request->n_bytes, bytes, n_new);
	request->n_bytes += n_new;
	return n_new;
}

/* "Name: value\r\n": keeps the value of the header of that name. */
static void header_keep(
	const char *line, size_t n, const char *name, char value[static VALUE_BYTES_MAX])
{
	size_t n_name = strlen(name);

	if (n <= n_name || strncasecmp(line, name, n_name) != 0 || line[n_name] != ':')
		return;
	line += n_name + 1;
	n -= n_name + 1;
	while (n > 0 && strchr(" \t", *line)) {
		line++;
		n--;
	}
	while (n > 0 && strchr(" \t\r\n", line[n - 1]))
		n--;
	if (n >= VALUE_BYTES_MAX || memchr(line, '\0', n))
		return;
	memcpy(value, line, n);
	value[n] = '\0';
}

static size_t on_header(char *line, size_t size, size_t n_items, void *userdata)
{
	struct request *request = userdata;
	size_t n = size * n_items;

	request->n_header_bytes += n;
	if (request->n_header_bytes > HEADER_BYTES_MAX) {
		request->too_much = "the answer's header is larger than any should be";
		return 0;
	}
	header_keep(line, n, "ETag", request->etag);
	header_keep(line, n, "Retry-After", request->retry_after);
	header_keep(line, n, "Location", request->location);
	return n;
}

int request_new(struct transport *transport, size_t n_bytes_max,
	void (*on_response)(const struct response *response, void *userdata), void *userdata,
	struct request **ret)
{
	_cleanup_(request_freep) struct request *request = calloc(1, sizeof(*request));

	if (!request)
		return -ENOMEM;
	request->transport = transport;
	request->n_bytes_max = n_bytes_max;
	request->on_response = on_response;
	request->userdata = userdata;
	request->easy = curl_easy_init();
	if (!request->easy)
		return -ENOMEM;
	*ret = TAKE_PTR(request);
	return 0;
}

void request_cancel(struct request *request)
{
	if (request->under_way)
		curl_multi_remove_handle(request->transport->multi, request->easy);
	request->under_way = false;
	request_forget(request);
}

struct request *request_free(struct request *request)
{
	if (!request)
		return NULL;
	if (request->easy) {
		request_cancel(request);
		curl_easy_cleanup(request->easy);
	}
	free(request);
	return NULL;
}

static int header_add(struct request *request, const char *header)
{
	struct curl_slist *list = curl_slist_append(request->headers, header);

	if (!list)
		return -ENOMEM;
	request->headers = list;
	return 0;
}

static int headers_set(struct request *request, const char *etag, bool has_body,
	char error[static TRANSPORT_ERROR_MAX])
{
	_cleanup_(freep) char *authorization = NULL;
	char header[VALUE_BYTES_MAX + 32];
	int r;

	r = credential_header(request->transport->feed, &authorization, error);
	if (r == 0 && authorization)
		r = header_add(request, authorization);
	if (r == 0)
		r = header_add(request, "Accept: application/json");
	if (r == 0 && has_body)
		r = header_add(request, "Content-Type: application/json");
	/* No waiting for a "100 Continue". */
	if (r == 0 && has_body)
		r = header_add(request, "Expect:");
	if (r == 0 && etag) {
		snprintf(header, sizeof(header), "If-None-Match: %s", etag);
		r = header_add(request, header);
	}
	return r;
}

static int security_set(struct request *request, bool plain)
{
	const struct config_feed *feed = request->transport->feed;
	_cleanup_(freep) char *certificate = NULL;
	_cleanup_(freep) char *key = NULL;
	CURL *easy = request->easy;
	int r;

#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, plain ? "http" : "https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS, plain ? CURLPROTO_HTTP : CURLPROTO_HTTPS);
#endif
	if (plain) {
		/* What is on this machine is not behind a proxy. */
		curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
		return 0;
	}
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (feed->ca) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, feed->ca);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	r = credential_certificate(feed, &certificate, &key);
	if (r == 0 && certificate) {
		curl_easy_setopt(easy, CURLOPT_SSLCERT, certificate);
		curl_easy_setopt(easy, CURLOPT_SSLKEY, key);
	}
	return r;
}

static int request_start(struct request *request, const char *url, const char *etag,
	uint64_t timeout_ms, char error[static TRANSPORT_ERROR_MAX])
{
	CURL *easy = request->easy;
	int r;

	curl_easy_reset(easy);
	r = headers_set(request, etag, request->sent, error);
	if (r == 0)
		r = security_set(request, url_is_plain(url));
	if (r < 0)
		return r;
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "jitgate-poll/" JITGATE_VERSION);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* A name is looked up by a thread, which nothing can hurry: a question that is over leaves
	 * it to end by itself. Older ones make the loop wait for it. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_SECONDS);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_SECONDS);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)request->n_bytes_max);
	if (request->sent) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(request->sent));
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->sent);
	}
	if (curl_multi_add_handle(request->transport->multi, easy) != CURLM_OK)
		return -ENOMEM;
	request->under_way = true;
	return 0;
}

int request_get(struct request *request, const char *url, const char *etag, uint64_t timeout_ms,
	char error[static TRANSPORT_ERROR_MAX])
{
	error[0] = '\0';
	if (request->under_way)
		return -EBUSY;
	request_forget(request);
	return request_start(request, url, etag, timeout_ms, error);
}

int request_post(struct request *request, const char *url, char *body, uint64_t timeout_ms,
	char error[static TRANSPORT_ERROR_MAX])
{
	error[0] = '\0';
	if (request->under_way) {
		free(body);
		return -EBUSY;
	}
	request_forget(request);
	request->sent = body;
	return request_start(request, url, NULL, timeout_ms, error);
}
