/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/common/text.h"
#include "contrib/control-plane/http/uri.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Decodes in place. In a query '+' is a space, as forms write it. */
static int decode(char *text, bool in_query, const char **ret_reason)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		int high, low;

		if (*from == '+' && in_query) {
			*to++ = ' ';
			continue;
		}
		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		high = hex_value(from[1]);
		low = high < 0 ? -1 : hex_value(from[2]);
		if (low < 0) {
			*ret_reason = "has a '%' without two hexadecimal digits behind it";
			return -EINVAL;
		}
		*to = (char)(high << 4 | low);
		if (!*to) {
			*ret_reason = "has a NUL (%00)";
			return -EINVAL;
		}
		to++;
		from += 2;
	}
	*to = '\0';
	if (!text_is_printable(text)) {
		*ret_reason = "has bytes that are no printable UTF-8";
		return -EINVAL;
	}
	return 0;
}

static int parse_path(struct uri *uri, char *path, const char **ret_reason)
{
	if (*path != '/') {
		*ret_reason = "does not begin with '/'";
		return -EINVAL;
	}
	while (path) {
		char *segment = path + 1;
		int r;

		path = strchr(segment, '/');
		if (path)
			*path = '\0';
		if (uri->n_segments == URI_SEGMENTS_MAX) {
			*ret_reason = "has too many segments";
			return -EINVAL;
		}
		r = decode(segment, false, ret_reason);
		if (r < 0)
			return r;
		uri->segments[uri->n_segments++] = segment;
	}
	return 0;
}

static int parse_parameter(struct uri *uri, char *text, const char **ret_reason)
{
	char *value = strchr(text, '=');
	int r;

	if (value)
		*value++ = '\0';
	r = decode(text, true, ret_reason);
	if (r == 0 && value)
		r = decode(value, true, ret_reason);
	if (r < 0)
		return r;
	if (uri_parameter(uri, text)) {
		*ret_reason = "has a query parameter twice";
		return -EINVAL;
	}
	if (uri->n_parameters == URI_PARAMETERS_MAX) {
		*ret_reason = "has too many query parameters";
		return -EINVAL;
	}
	uri->parameters[uri->n_parameters++] = (struct uri_parameter){ text, value ? value : "" };
	return 0;
}

static int parse_query(struct uri *uri, char *query, const char **ret_reason)
{
	while (query) {
		char *text = query;
		int r = 0;

		query = strchr(text, '&');
		if (query)
			*query++ = '\0';
		if (*text)
			r = parse_parameter(uri, text, ret_reason);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The absolute form, which proxies are sent, names scheme and host first. */
static const char *skip_authority(const char *target)
{
	size_t n_scheme = strncasecmp(target, "http://", 7) == 0 ? 7
		: strncasecmp(target, "https://", 8) == 0        ? 8
								 : 0;
	const char *path;

	if (n_scheme == 0)
		return target;
	path = strchr(target + n_scheme, '/');
	return path ? path : "/";
}

int uri_parse(const char *target, struct uri *ret, const char **ret_reason)
{
	size_t n_path, n_bytes;
	char *path, *query;
	int r;

	target = skip_authority(target);
	n_path = strcspn(target, "?");
	n_bytes = strlen(target);
	*ret = (struct uri){ .path = malloc(n_path + 1 + n_bytes + 1) };
	if (!ret->path)
		return -ENOMEM;
	memcpy(ret->path, target, n_path);
	ret->path[n_path] = '\0';
	path = ret->path + n_path + 1;
	memcpy(path, target, n_bytes + 1);
	query = NULL;
	if (target[n_path] == '?') {
		path[n_path] = '\0';
		query = path + n_path + 1;
	}
	r = parse_path(ret, path, ret_reason);
	return r < 0 ? r : parse_query(ret, query, ret_reason);
}

void uri_done(struct uri *uri)
{
	free(uri->path);
	*uri = (struct uri){ 0 };
}

const char *uri_parameter(const struct uri *uri, const char *name)
{
	for (size_t i = 0; i < uri->n_parameters; i++)
		if (strcasecmp(uri->parameters[i].name, name) == 0)
			return uri->parameters[i].value;
	return NULL;
}

static bool word_is(const char *word, size_t n_word, const char *text)
{
	return strncasecmp(word, text, n_word) == 0 && text[n_word] == '\0';
}

bool uri_matches(const struct uri *uri, const char *pattern)
{
	for (size_t i = 0; i < uri->n_segments; i++) {
		const char *word = pattern + 1;
		size_t n_word;

		if (*pattern != '/')
			return false;
		n_word = strcspn(word, "/");
		if (*word == '{' ? !*uri->segments[i] : !word_is(word, n_word, uri->segments[i]))
			return false;
		pattern = word + n_word;
	}
	return !*pattern;
}

const char *uri_segment(const struct uri *uri, const char *pattern, const char *name)
{
	for (size_t i = 0; i < uri->n_segments && *pattern; i++) {
		const char *word = pattern + 1;
		size_t n_word = strcspn(word, "/");

		if (*word == '{' && n_word > 2 && strlen(name) == n_word - 2 &&
			strncmp(word + 1, name, n_word - 2) == 0)
			return uri->segments[i];
		pattern = word + n_word;
	}
	return NULL;
}
