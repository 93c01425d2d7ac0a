/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <systemd/sd-id128.h>

#include "agent/cli/sign_claims.h"
#include "agent/common/times.h"

/* Which options are for which kinds, as bits. */
static const struct {
	const char *option;
	unsigned kinds;
} option_kinds[] = {
	{ "sub", 1 << DOCUMENT_GRANT },
	{ "justification", 1 << DOCUMENT_GRANT },
	{ "port", 1 << DOCUMENT_GRANT | 1 << DOCUMENT_POLICY },
	{ "source", 1 << DOCUMENT_GRANT | 1 << DOCUMENT_POLICY },
	{ "for", 1 << DOCUMENT_GRANT | 1 << DOCUMENT_POLICY },
	{ "revokes", 1 << DOCUMENT_REVOCATION },
	{ "sessions", 1 << DOCUMENT_REVOCATION },
	{ "reason", 1 << DOCUMENT_REVOCATION },
	{ "policy-version", 1 << DOCUMENT_POLICY },
};

_printf_(2, 3) static int fail(char **ret_error, const char *format, ...)
{
	va_list list;
	int n;

	va_start(list, format);
	n = vasprintf(ret_error, format, list);
	va_end(list);
	return n < 0 ? -ENOMEM : -EINVAL;
}

static int check_kind(enum document_kind kind, const struct arguments *arguments, char **ret_error)
{
	for (size_t i = 0; i < N_ELEMENTS(option_kinds); i++)
		if (arguments_have(arguments, option_kinds[i].option) &&
			!(option_kinds[i].kinds & 1u << kind))
			return fail(ret_error, "--%s says nothing in a %s", option_kinds[i].option,
				document_kind_name(kind));
	return 0;
}

static int set(json_t *claims, const char *name, json_t *value)
{
	return json_object_set_new(claims, name, value) < 0 ? -ENOMEM : 0;
}

static int set_missing(json_t *claims, const char *name, json_t *value)
{
	if (!json_object_get(claims, name))
		return set(claims, name, value);
	json_decref(value);
	return 0;
}

static int set_text(json_t *claims, const char *name, const struct arguments *arguments,
	const char *option, char **ret_error)
{
	const char *text = arguments_get(arguments, option);
	json_t *value;

	if (!text)
		return 0;
	value = json_string(text);
	if (!value)
		return fail(ret_error, "--%s is not UTF-8", option);
	return set(claims, name, value);
}

/* All values of an option, as they are. */
static int read_texts(
	const struct arguments *arguments, const char *option, json_t **ret, char **ret_error)
{
	json_auto_t *array = json_array();
	const char *text;
	size_t index = 0;

	while ((text = arguments_next(arguments, option, &index))) {
		json_t *value = json_string(text);

		if (!value)
			return fail(ret_error, "--%s is not UTF-8", option);
		json_array_append_new(array, value);
	}
	*ret = TAKE_PTR(array);
	return 0;
}

/* One audience is a string, several are a list (RFC 7519 section 4.1.3). */
static int set_audience(json_t *claims, const struct arguments *arguments, char **ret_error)
{
	json_auto_t *array = NULL;
	int r;

	r = read_texts(arguments, "aud", &array, ret_error);
	if (r < 0 || json_array_size(array) == 0)
		return r;
	if (json_array_size(array) == 1)
		return set(claims, "aud", json_incref(json_array_get(array, 0)));
	return set(claims, "aud", TAKE_PTR(array));
}

static int read_seconds(const struct arguments *arguments, int64_t *ret, char **ret_error)
{
	const char *text = arguments_get(arguments, "for");

	if (text && duration_parse(text, ret) < 0)
		return fail(ret_error, "--for %s is not a duration like PT10M or PT3H, up to P366D",
			text);
	return 0;
}

static int port_new(enum document_kind kind, const struct arguments *arguments, const char *text,
	json_t *sources, json_t **ret, char **ret_error)
{
	json_auto_t *port = NULL;
	unsigned protocols;
	uint16_t number;

	if (port_protocol_parse(text, &number, &protocols) < 0)
		return fail(ret_error, "--port %s is not a port like 22/tcp", text);
	port = json_pack("{s:i, s:s, s:O}", "number", number, "protocol",
		protocol_format(protocols), "allowedSourceAddressPrefixes", sources);
	if (kind == DOCUMENT_POLICY && arguments_have(arguments, "for") &&
		set(port, "maxRequestAccessDuration",
			json_string(arguments_get(arguments, "for"))) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(port);
	return 0;
}

static int set_ports(json_t *claims, enum document_kind kind, const struct arguments *arguments,
	char **ret_error)
{
	json_auto_t *sources = NULL, *ports = json_array();
	const char *text;
	size_t index = 0;
	int r;

	if (!arguments_have(arguments, "port"))
		return arguments_have(arguments, "source")
			? fail(ret_error, "--source goes with --port")
			: 0;
	if (!arguments_have(arguments, "source"))
		return fail(ret_error, "--port goes with --source PREFIX");
	if (kind == DOCUMENT_POLICY && !arguments_have(arguments, "for"))
		return fail(ret_error, "--port of a policy goes with --for DURATION");
	r = read_texts(arguments, "source", &sources, ret_error);
	if (r < 0)
		return r;
	while ((text = arguments_next(arguments, "port", &index))) {
		json_t *port = NULL;

		r = port_new(kind, arguments, text, sources, &port, ret_error);
		if (r < 0)
			return r;
		json_array_append_new(ports, port);
	}
	return set(claims, "ports", TAKE_PTR(ports));
}

/* exp counts from nbf, where the grant is for later. */
static int set_expiry(
	json_t *claims, const struct arguments *arguments, int64_t now, char **ret_error)
{
	const json_t *not_before = json_object_get(claims, "nbf");
	int64_t start = now, seconds = GRANT_SECONDS_DEFAULT;
	int r;

	r = read_seconds(arguments, &seconds, ret_error);
	if (r < 0)
		return r;
	if (json_is_integer(not_before) && json_integer_value(not_before) > now &&
		json_integer_value(not_before) < INT64_MAX - seconds)
		start = json_integer_value(not_before);
	if (arguments_have(arguments, "for"))
		return set(claims, "exp", json_integer(start + seconds));
	return set_missing(claims, "exp", json_integer(start + seconds));
}

static int set_revokes(json_t *claims, const struct arguments *arguments, char **ret_error)
{
	json_auto_t *ids = NULL;
	int r;

	r = read_texts(arguments, "revokes", &ids, ret_error);
	if (r < 0 || json_array_size(ids) == 0)
		return r;
	return set(claims, "revokes", TAKE_PTR(ids));
}

static int set_version(json_t *claims, const struct arguments *arguments, char **ret_error)
{
	const char *text = arguments_get(arguments, "policy-version");
	long long version;
	char *end;

	if (!text)
		return 0;
	errno = 0;
	version = strtoll(text, &end, 10);
	if (errno || end == text || *end || version < 0)
		return fail(ret_error, "--policy-version %s is not a number", text);
	return set(claims, "version", json_integer(version));
}

static int set_of_kind(json_t *claims, enum document_kind kind, const struct arguments *arguments,
	int64_t now, char **ret_error)
{
	int r;

	switch (kind) {
	case DOCUMENT_GRANT:
		r = set_text(claims, "sub", arguments, "sub", ret_error);
		if (r == 0)
			r = set_text(
				claims, "justification", arguments, "justification", ret_error);
		if (r == 0)
			r = set_ports(claims, kind, arguments, ret_error);
		return r < 0 ? r : set_expiry(claims, arguments, now, ret_error);
	case DOCUMENT_REVOCATION:
		r = set_text(claims, "sessions", arguments, "sessions", ret_error);
		if (r == 0)
			r = set_text(claims, "reason", arguments, "reason", ret_error);
		return r < 0 ? r : set_revokes(claims, arguments, ret_error);
	case DOCUMENT_POLICY:
		r = set_ports(claims, kind, arguments, ret_error);
		return r < 0 ? r : set_version(claims, arguments, ret_error);
	}
	return -EINVAL;
}

static int set_random_id(json_t *claims)
{
	char text[SD_ID128_STRING_MAX];
	sd_id128_t id;
	int r;

	if (json_object_get(claims, "jti"))
		return 0;
	r = sd_id128_randomize(&id);
	if (r < 0)
		return r;
	return set(claims, "jti", json_string(sd_id128_to_string(id, text)));
}

int claims_complete(json_t *claims, enum document_kind kind, const struct arguments *arguments,
	const char *kid, int64_t now, char **ret_error)
{
	int r;

	r = check_kind(kind, arguments, ret_error);
	if (r < 0)
		return r;
	r = set_audience(claims, arguments, ret_error);
	if (r < 0)
		return r;
	r = set_text(claims, "iss", arguments, "iss", ret_error);
	if (r < 0)
		return r;
	r = set_missing(claims, "iss", json_string(kid));
	if (r < 0)
		return r;
	r = set_missing(claims, "iat", json_integer(now));
	if (r < 0)
		return r;
	r = set_random_id(claims);
	if (r < 0)
		return r;
	return set_of_kind(claims, kind, arguments, now, ret_error);
}
