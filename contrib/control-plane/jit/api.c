/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/common/text.h"
#include "contrib/control-plane/jit/api.h"

const struct principal *api_principal(const struct http_request *request)
{
	return http_request_data(request);
}

bool api_may_read(const char *resource, const void *userdata)
{
	return principal_may_read(userdata, resource);
}

bool policy_may_be_read(const struct policy *policy, const struct principal *principal)
{
	if (principal_may_read(principal, policy->id))
		return true;
	for (size_t i = 0; i < policy->n_vms; i++)
		if (principal_may_read(principal, policy->vms[i].id))
			return true;
	return false;
}

void api_respond_problem(struct http_request *request, const struct problem *problem)
{
	http_respond_error(request, problem->status, problem->code, "%s", problem->message);
}

void api_respond_error(struct http_request *request, int error)
{
	if (error == -EBUSY || error == -EAGAIN) {
		http_request_add_header(request, "Retry-After", "1");
		http_respond_error(request, 503, "ServiceUnavailable",
			"too many changes to the same things at once: try again");
	} else if (error == -E2BIG) {
		http_respond_error(request, 413, "RequestTooLarge",
			"what it would make is larger than can be kept");
	} else {
		http_respond_error(request, 500, "InternalError", "it failed: %s; nothing changed",
			strerror(-error));
	}
}

static int number_parse(const char *text, int64_t max, int64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoll(text, &end, 10);
	return *text < '0' || *text > '9' || *end || errno || *ret > max ? -EINVAL : 0;
}

bool api_number(struct http_request *request, const char *name, int64_t max, int64_t *ret)
{
	const char *text = http_request_query(request, name);
	int64_t value;

	if (!text)
		return true;
	if (number_parse(text, max, &value) < 0) {
		http_respond_error(request, 400, "InvalidRequestContent",
			"%s is not a whole number from 0 to %" PRId64, name, max);
		return false;
	}
	*ret = value;
	return true;
}

static const char *query_either(
	const struct http_request *request, const char *azures, const char *ours)
{
	const char *text = http_request_query(request, azures);

	return text ? text : http_request_query(request, ours);
}

bool api_top(struct http_request *request, size_t n, size_t n_max, size_t *ret)
{
	const char *text = query_either(request, "$top", "top");
	int64_t value = (int64_t)n;

	if (text && (number_parse(text, INT32_MAX, &value) < 0 || value == 0)) {
		http_respond_error(request, 400, "InvalidRequestContent",
			"top is not a whole number from 1 up");
		return false;
	}
	*ret = (size_t)value > n_max ? n_max : (size_t)value;
	return true;
}

const char *api_skip_token(const struct http_request *request)
{
	return query_either(request, "$skipToken", "skipToken");
}

/* RFC 3986 section 2.3: what needs no encoding, and what none is needed for within a query. */
static void put_encoded(FILE *stream, const char *text)
{
	for (; *text; text++) {
		if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:$",
			    *text))
			putc(*text, stream);
		else
			fprintf(stream, "%%%02X", (unsigned char)*text);
	}
}

static void put_parameter(FILE *stream, char *separator, const char *name, const char *value)
{
	if (!value)
		return;
	fprintf(stream, "%c%s=", *separator, name);
	put_encoded(stream, value);
	*separator = '&';
}

static json_t *next_link(const struct http_request *request, const char *url, const char *token,
	const char *const *parameters)
{
	_cleanup_(freep) char *link = NULL;
	char separator = '?';
	size_t n;
	FILE *stream = open_memstream(&link, &n);

	if (!stream)
		return NULL;
	fprintf(stream, "%s%s", url, http_request_path(request));
	for (; *parameters; parameters++)
		put_parameter(
			stream, &separator, *parameters, http_request_query(request, *parameters));
	put_parameter(stream, &separator, "$skipToken", token);
	return fclose(stream) == 0 ? json_string(link) : NULL;
}

json_t *api_page(const struct http_request *request, const char *url, json_t *value,
	const char *token, const char *const *parameters)
{
	json_t *page = json_pack("{s:o}", "value", value);

	if (page && token)
		json_object_set_new(page, "nextLink", next_link(request, url, token, parameters));
	return page;
}

int api_body_string(const json_t *body, const char *name, size_t n_bytes_max, const char **ret,
	struct problem *problem)
{
	const json_t *value = json_object_get(body, name);

	*ret = NULL;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_string(value) || json_string_length(value) > n_bytes_max ||
		!text_is_printable(json_string_value(value)))
		return problem_content(problem,
			"%s is not a string of at most %zu bytes without control characters", name,
			n_bytes_max);
	*ret = json_string_length(value) > 0 ? json_string_value(value) : NULL;
	return 0;
}
