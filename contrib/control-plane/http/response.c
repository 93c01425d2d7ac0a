/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/http/request.h"

int http_request_add_header(struct http_request *request, const char *name, const char *value)
{
	char **header = request->headers[request->n_headers];

	if (request->n_headers == REQUEST_HEADERS_MAX)
		return -E2BIG;
	header[0] = strdup(name);
	header[1] = strdup(value);
	if (!header[0] || !header[1]) {
		free(TAKE_PTR(header[0]));
		free(TAKE_PTR(header[1]));
		return -ENOMEM;
	}
	request->n_headers++;
	return 0;
}

/* RFC 9111: nothing that is asked here is to be kept by anyone between. RFC 6797 for the last. */
static bool response_add_headers(
	struct MHD_Response *response, const struct http_request *request, const char *type)
{
	bool done = MHD_add_response_header(response, "Cache-Control", "no-store") == MHD_YES &&
		MHD_add_response_header(response, "X-Content-Type-Options", "nosniff") == MHD_YES;

	if (done && type)
		done = MHD_add_response_header(response, "Content-Type", type) == MHD_YES;
	if (done && request->server->is_tls)
		done = MHD_add_response_header(response, "Strict-Transport-Security",
			       "max-age=31536000") == MHD_YES;
	if (done && request->connection->daemon->retired)
		done = MHD_add_response_header(response, "Connection", "close") == MHD_YES;
	for (size_t i = 0; done && i < request->n_headers; i++)
		done = MHD_add_response_header(
			       response, request->headers[i][0], request->headers[i][1]) == MHD_YES;
	return done;
}

/* Takes the text. NULL: memory failed, and the connection is closed. */
static void request_answer(
	struct http_request *request, unsigned status, const char *type, char *text)
{
	struct answers *answers =
		request->match.answers ? request->match.answers : &request->server->router.unrouted;
	struct MHD_Response *response;

	if (request->is_answered) {
		free(text);
		return;
	}
	request->is_answered = true;
	request->status = status;
	answers_add(answers, status, clock_monotonic_usec() - request->begun_usec);
	response = text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE)
			: NULL;
	if (!response)
		free(text);
	else if (response_add_headers(response, request, type))
		request->response = response;
	else
		MHD_destroy_response(response);
	request_forget(request);
	if (request->is_held)
		request_release(request);
}

void http_respond_json(struct http_request *request, unsigned status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	request_answer(request, status, "application/json; charset=utf-8", text);
}

void http_respond_text(
	struct http_request *request, unsigned status, const char *type, const char *text)
{
	request_answer(request, status, type, strdup(text));
}

void http_respond_empty(struct http_request *request, unsigned status)
{
	request_answer(request, status, NULL, strdup(""));
}

void http_respond_error(
	struct http_request *request, unsigned status, const char *code, const char *format, ...)
{
	_cleanup_(freep) char *message = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&message, format, arguments) < 0)
		message = NULL;
	va_end(arguments);
	http_respond_json(request, status,
		message ? json_pack("{s:{s:s, s:s, s:n, s:[], s:[]}}", "error", "code", code,
				  "message", message, "target", "details", "additionalInfo")
			: NULL);
}
