/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What a request says, and whether it says it as it must. */

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "agent/common/strictjson.h"
#include "agent/common/text.h"
#include "contrib/control-plane/http/request.h"

const char *http_request_method(const struct http_request *request)
{
	return request->method;
}

const char *http_request_path(const struct http_request *request)
{
	return request->uri.path;
}

const char *http_request_parameter(const struct http_request *request, const char *name)
{
	return uri_segment(&request->uri, request->match.route->pattern, name);
}

const char *http_request_query(const struct http_request *request, const char *name)
{
	return uri_parameter(&request->uri, name);
}

const char *http_request_header(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

const char *http_request_bearer(const struct http_request *request)
{
	static const char scheme[] = "Bearer ";
	const char *value = http_request_header(request, "Authorization");

	if (!value || strncasecmp(value, scheme, strlen(scheme)) != 0)
		return NULL;
	value += strlen(scheme);
	while (*value == ' ')
		value++;
	return *value ? value : NULL;
}

size_t http_request_body_bytes(const struct http_request *request)
{
	return request->n_body;
}

json_t *http_request_json(struct http_request *request)
{
	char error[256];
	int r;

	if (request->json)
		return request->json;
	if (request->n_body == 0 && strcmp(request->method, "POST") == 0)
		r = json_parse_object("{}", 2, &request->json, error, sizeof(error));
	else
		r = json_parse_object(request->body ? request->body : "", request->n_body,
			&request->json, error, sizeof(error));
	if (r == -EINVAL) {
		text_make_printable(error);
		http_respond_error(request, 400, "InvalidRequestContent",
			"the body is no JSON object as RFC 8259 wants it: %s", error);
	} else if (r < 0) {
		http_respond_error(request, 500, "InternalError", "out of memory");
	}
	return request->json;
}

struct last_value {
	const char *name;
	const char *value;
	size_t n;
};

static enum MHD_Result on_header(
	void *userdata, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct last_value *last = userdata;

	(void)kind;
	if (strcasecmp(name, last->name) == 0) {
		last->value = value ? value : "";
		last->n++;
	}
	return MHD_YES;
}

/* The last header of a name, and how many there are. */
static struct last_value request_last_header(const struct http_request *request, const char *name)
{
	struct last_value last = { .name = name };

	(void)MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, on_header, &last);
	return last;
}

/* Each proxy appends whom it was called by: the last is what our own proxy saw. */
static void source_from_proxy(
	const struct http_request *request, uint8_t *ret_family, struct address *ret_address)
{
	const char *value = request_last_header(request, "X-Forwarded-For").value;
	char text[INET6_ADDRSTRLEN] = "";
	struct in6_addr in6;
	struct in_addr in;

	*ret_family = AF_UNSPEC;
	if (!value)
		return;
	if (strrchr(value, ','))
		value = strrchr(value, ',') + 1;
	value += strspn(value, " \t");
	if (strcspn(value, " \t") >= sizeof(text))
		return;
	strncat(text, value, strcspn(value, " \t"));
	if (inet_pton(AF_INET, text, &in) == 1) {
		*ret_family = AF_INET;
		memcpy(ret_address->bytes, &in, sizeof(in));
	} else if (inet_pton(AF_INET6, text, &in6) == 1) {
		bool mapped = IN6_IS_ADDR_V4MAPPED(&in6);

		*ret_family = mapped ? AF_INET : AF_INET6;
		memcpy(ret_address->bytes, mapped ? &in6.s6_addr[12] : &in6.s6_addr[0],
			mapped ? 4 : 16);
	}
}

void http_request_source(
	const struct http_request *request, uint8_t *ret_family, struct address *ret_address)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *address = info ? info->client_addr : NULL;
	sa_family_t family = address ? address->sa_family : AF_UNSPEC;
	struct sockaddr_in6 in6;
	struct sockaddr_in in;

	memset(ret_address, 0, sizeof(*ret_address));
	*ret_family = AF_UNSPEC;
	if (family == AF_UNIX) {
		source_from_proxy(request, ret_family, ret_address);
	} else if (family == AF_INET) {
		memcpy(&in, address, sizeof(in));
		*ret_family = AF_INET;
		memcpy(ret_address->bytes, &in.sin_addr, 4);
	} else if (family == AF_INET6) {
		memcpy(&in6, address, sizeof(in6));
		if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
			*ret_family = AF_INET;
			memcpy(ret_address->bytes, &in6.sin6_addr.s6_addr[12], 4);
		} else {
			*ret_family = AF_INET6;
			memcpy(ret_address->bytes, &in6.sin6_addr, 16);
		}
	}
}

/* A length that is read in two ways lets one request hide in another. */
static bool check_framing(struct http_request *request)
{
	struct last_value length = request_last_header(request, "Content-Length");
	struct last_value encoding = request_last_header(request, "Transfer-Encoding");
	bool has_body = strcmp(request->method, "POST") == 0 || strcmp(request->method, "PUT") == 0;

	if (length.n + encoding.n > 1)
		http_respond_error(request, 400, "BadRequest",
			"Content-Length and Transfer-Encoding: one of them, once");
	else if (encoding.n == 1 && strcasecmp(encoding.value, "chunked") != 0)
		http_respond_error(request, 400, "BadRequest",
			"Transfer-Encoding other than chunked is not understood");
	else if (length.n == 1 &&
		(!*length.value || strspn(length.value, "0123456789") != strlen(length.value)))
		http_respond_error(request, 400, "BadRequest", "Content-Length is no number");
	else if (length.n + encoding.n == 0 && has_body)
		http_respond_error(
			request, 411, "LengthRequired", "%s needs Content-Length", request->method);
	request->is_misframed = request->is_answered;
	return !request->is_answered;
}

/* What is compared or counted may be there once. */
static bool check_repeats(struct http_request *request)
{
	static const char *const names[] = { "Authorization", "Host", "Content-Type" };

	for (size_t i = 0; i < N_ELEMENTS(names); i++)
		if (request_last_header(request, names[i]).n > 1) {
			http_respond_error(
				request, 400, "BadRequest", "%s is there twice", names[i]);
			return false;
		}
	return true;
}

static bool check_route(struct http_request *request)
{
	char allow[ROUTER_ALLOW_MAX];
	int r;

	r = router_find(&request->server->router, request->method, &request->uri, &request->match);
	if (r == ROUTER_NO_PATH) {
		http_respond_error(
			request, 404, "ResourceNotFound", "nothing is served under this path");
	} else if (r == ROUTER_NO_METHOD) {
		router_allow(&request->server->router, &request->uri, allow);
		(void)http_request_add_header(request, "Allow", allow);
		http_respond_error(
			request, 405, "MethodNotAllowed", "this path takes only %s", allow);
	}
	return r == 0;
}

static bool type_is_json(const char *type)
{
	static const char json[] = "application/json";
	size_t n = strlen(json);

	if (!type || strncasecmp(type, json, n) != 0)
		return false;
	type += n;
	type += strspn(type, " \t");
	return *type == '\0' || *type == ';';
}

static bool check_body(struct http_request *request)
{
	const char *length = http_request_header(request, "Content-Length");
	bool is_chunked = http_request_header(request, "Transfer-Encoding");
	size_t n_max = request_body_max(request);

	if (!is_chunked && (!length || strspn(length, "0") == strlen(length)))
		return true;
	if (!type_is_json(http_request_header(request, "Content-Type"))) {
		http_respond_error(
			request, 415, "UnsupportedMediaType", "the body must be application/json");
		return false;
	}
	if (length && strtoull(length, NULL, 10) > n_max) {
		http_respond_error(
			request, 413, "RequestTooLarge", "the body has more than %zu bytes", n_max);
		return false;
	}
	return true;
}

size_t request_body_max(const struct http_request *request)
{
	const struct http_route *route = request->match.route;

	return route && route->n_body_max ? route->n_body_max : HTTP_BODY_BYTES_MAX;
}

void request_check(struct http_request *request)
{
	if (request->uri.path && strlen(request->uri.path) > HTTP_PATH_BYTES_MAX)
		http_respond_error(request, 414, "RequestUriTooLong",
			"the path has more than %d bytes", HTTP_PATH_BYTES_MAX);
	else if (request->uri_error)
		http_respond_error(
			request, 400, "BadRequest", "the address %s", request->uri_error);
	else if (check_framing(request) && check_repeats(request) && check_route(request))
		(void)check_body(request);
}
