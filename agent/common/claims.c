/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "agent/common/claims.h"
#include "agent/common/document.h"
#include "agent/common/text.h"
#include "agent/common/times.h"

#define AUDIENCES_MAX 64
/* 9999-12-31T23:59:59Z: the last that RFC 3339 can write. */
#define TIME_MAX INT64_C(253402300799)

/* "port 3 of the list: ", or nothing for the claims themselves: what a refusal's sentence begins
 * with. */
struct where {
	char text[40];
};

bool document_id_is_valid(const char *id)
{
	size_t n = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-");

	return n >= 1 && n <= DOCUMENT_ID_MAX && id[n] == '\0';
}

/* Checks that a value is text fit for a log, of n_min to DOCUMENT_STRING_MAX bytes. */
static int string_check(const json_t *value, const struct where *where, const char *name,
	size_t n_min, struct refusal *refusal)
{
	if (!value)
		return refuse(refusal, REFUSAL_MALFORMED, "%s%s is missing", where->text, name);
	if (!json_is_string(value))
		return refuse(
			refusal, REFUSAL_MALFORMED, "%s%s is not a string", where->text, name);
	if (json_string_length(value) < n_min)
		return refuse(refusal, REFUSAL_MALFORMED, "%s%s is empty", where->text, name);
	if (json_string_length(value) > DOCUMENT_STRING_MAX)
		return refuse(refusal, REFUSAL_MALFORMED, "%s%s is longer than %d bytes",
			where->text, name, DOCUMENT_STRING_MAX);
	if (strlen(json_string_value(value)) != json_string_length(value) ||
		!text_is_printable(json_string_value(value)))
		return refuse(refusal, REFUSAL_MALFORMED, "%s%s has control characters",
			where->text, name);
	return 0;
}

static int string_copy(const json_t *value, char **ret)
{
	*ret = strdup(json_string_value(value));
	return *ret ? 0 : -ENOMEM;
}

static int claim_string(const json_t *claims, const char *name, char **ret, struct refusal *refusal)
{
	const json_t *value = json_object_get(claims, name);
	int r = string_check(value, &(struct where){ "" }, name, 1, refusal);

	return r != 0 ? r : string_copy(value, ret);
}

/* The same for a claim that may be absent, or say nothing. */
static int claim_string_optional(
	const json_t *claims, const char *name, char **ret, struct refusal *refusal)
{
	const json_t *value = json_object_get(claims, name);
	int r;

	if (!value)
		return 0;
	r = string_check(value, &(struct where){ "" }, name, 0, refusal);
	return r != 0 ? r : string_copy(value, ret);
}

static int claim_time(const json_t *claims, const char *name, int64_t *ret, struct refusal *refusal)
{
	const json_t *value = json_object_get(claims, name);
	json_int_t seconds = json_integer_value(value);

	if (!value)
		return refuse(refusal, REFUSAL_MALFORMED, "%s is missing", name);
	if (!json_is_integer(value) || seconds < 0 || seconds > TIME_MAX)
		return refuse(refusal, REFUSAL_MALFORMED,
			"%s is not a time in whole seconds since 1970", name);
	*ret = seconds;
	return 0;
}

static int claim_id(const json_t *claims, char **ret, struct refusal *refusal)
{
	const json_t *value = json_object_get(claims, "jti");
	int r = string_check(value, &(struct where){ "" }, "jti", 1, refusal);

	if (r != 0)
		return r;
	if (!document_id_is_valid(json_string_value(value)))
		return refuse(refusal, REFUSAL_MALFORMED,
			"jti is not 1 to %d letters, digits and . _ ~ -", DOCUMENT_ID_MAX);
	return string_copy(value, ret);
}

/* A list of min to max elements. Returns 0, REFUSED. */
static int list_check(const json_t *list, const struct where *where, const char *name, size_t min,
	size_t max, struct refusal *refusal)
{
	if (!list)
		return refuse(refusal, REFUSAL_MALFORMED, "%s%s is missing", where->text, name);
	if (!json_is_array(list))
		return refuse(refusal, REFUSAL_MALFORMED, "%s%s is not a list", where->text, name);
	if (json_array_size(list) < min)
		return refuse(
			refusal, REFUSAL_MALFORMED, "%s%s is an empty list", where->text, name);
	if (json_array_size(list) > max)
		return refuse(refusal, REFUSAL_TOO_LARGE, "%s%s has %zu elements, more than %zu",
			where->text, name, json_array_size(list), max);
	return 0;
}

static int audience_check(const json_t *claims, struct refusal *refusal)
{
	const struct where nowhere = { "" };
	const json_t *audience = json_object_get(claims, "aud");
	const json_t *value;
	size_t i;
	int r;

	if (!json_is_array(audience))
		return string_check(audience, &nowhere, "aud", 1, refusal);
	r = list_check(audience, &nowhere, "aud", 1, AUDIENCES_MAX, refusal);
	if (r != 0)
		return r;
	json_array_foreach (audience, i, value) {
		r = string_check(value, &nowhere, "an element of aud", 1, refusal);
		if (r != 0)
			return r;
	}
	return 0;
}

static bool audience_is(const json_t *audience, const char *vm_id)
{
	const char *text = json_string_value(audience);

	if (!text)
		return false;
	/* Azure's resource ids are the same whatever their case. */
	return vm_id[0] == '/' ? strcasecmp(text, vm_id) == 0 : strcmp(text, vm_id) == 0;
}

bool document_audience_matches(const json_t *claims, const char *vm_id)
{
	const json_t *audience = json_object_get(claims, "aud");
	const json_t *value;
	size_t i;

	if (!json_is_array(audience))
		return audience_is(audience, vm_id);
	json_array_foreach (audience, i, value)
		if (audience_is(value, vm_id))
			return true;
	return false;
}

int claims_refuse_audience(const json_t *claims, const char *vm_id, struct refusal *refusal)
{
	const json_t *audience = json_object_get(claims, "aud");

	if (json_array_size(audience) == 1)
		audience = json_array_get(audience, 0);
	if (json_is_array(audience))
		return refuse(refusal, REFUSAL_WRONG_AUDIENCE,
			"the document is for %zu other VMs, and this is \"%s\"",
			json_array_size(audience), vm_id);
	return refuse(refusal, REFUSAL_WRONG_AUDIENCE,
		"the document is for \"%.280s\", and this is \"%s\"", json_string_value(audience),
		vm_id);
}

static int prefix_read(const json_t *value, const struct where *where, const char *name,
	struct prefix *ret, struct refusal *refusal)
{
	const char *reason;
	int r;

	r = string_check(value, where, name, 1, refusal);
	if (r != 0)
		return r;
	reason = prefix_parse_reason(json_string_value(value), ret);
	if (reason)
		return refuse(refusal, REFUSAL_MALFORMED, "%s%s \"%.64s\" %s", where->text, name,
			json_string_value(value), reason);
	return 0;
}

static int prefixes_read(const json_t *json, const struct where *where, struct document_port *port,
	struct refusal *refusal)
{
	static const char name[] = "allowedSourceAddressPrefix";
	static const char name_list[] = "allowedSourceAddressPrefixes";
	const json_t *one = json_object_get(json, name);
	const json_t *list = json_object_get(json, name_list);
	size_t n = 1;
	int r;

	if (!one && !list)
		return refuse(refusal, REFUSAL_MALFORMED, "%s%s or %s is missing", where->text,
			name, name_list);
	if (one && list)
		return refuse(refusal, REFUSAL_MALFORMED, "%sgives both %s and %s", where->text,
			name, name_list);
	if (list) {
		r = list_check(list, where, name_list, 1, DOCUMENT_PREFIXES_MAX, refusal);
		if (r != 0)
			return r;
		n = json_array_size(list);
	}
	port->prefixes = calloc(n, sizeof(*port->prefixes));
	if (!port->prefixes)
		return -ENOMEM;
	for (; port->n_prefixes < n; port->n_prefixes++) {
		r = prefix_read(list ? json_array_get(list, port->n_prefixes) : one, where,
			list ? name_list : name, &port->prefixes[port->n_prefixes], refusal);
		if (r != 0)
			return r;
	}
	return 0;
}

static int number_read(const json_t *json, const struct where *where, struct port_range *ret,
	struct refusal *refusal)
{
	const json_t *value = json_object_get(json, "number");
	json_int_t number = json_integer_value(value);

	if (!value)
		return refuse(refusal, REFUSAL_MALFORMED, "%snumber is missing", where->text);
	if (!json_is_integer(value) || number < 1 || number > UINT16_MAX)
		return refuse(refusal, REFUSAL_MALFORMED,
			"%snumber is not a whole number from 1 to 65535", where->text);
	ret->first = ret->last = (uint16_t)number;
	return 0;
}

static int protocol_read(
	const json_t *json, const struct where *where, unsigned *ret, struct refusal *refusal)
{
	const json_t *value = json_object_get(json, "protocol");
	int r = string_check(value, where, "protocol", 1, refusal);

	if (r != 0)
		return r;
	if (protocol_parse(json_string_value(value), ret) < 0)
		return refuse(refusal, REFUSAL_MALFORMED,
			"%sprotocol \"%.32s\" is not TCP, UDP or *", where->text,
			json_string_value(value));
	return 0;
}

static int duration_read(
	const json_t *json, const struct where *where, int64_t *ret, struct refusal *refusal)
{
	static const char name[] = "maxRequestAccessDuration";
	const json_t *value = json_object_get(json, name);
	int r = string_check(value, where, name, 1, refusal);

	if (r != 0)
		return r;
	if (duration_parse(json_string_value(value), ret) < 0)
		return refuse(refusal, REFUSAL_MALFORMED,
			"%s%s \"%.32s\" is not an ISO 8601 duration of at most 366 days, as "
			"\"PT3H\"",
			where->text, name, json_string_value(value));
	return 0;
}

static int port_read(enum document_kind kind, const json_t *json, const struct where *where,
	struct document_port *port, struct refusal *refusal)
{
	int r;

	if (!json_is_object(json))
		return refuse(refusal, REFUSAL_MALFORMED, "%snot an object", where->text);
	r = number_read(json, where, &port->ports, refusal);
	if (r != 0)
		return r;
	r = protocol_read(json, where, &port->protocols, refusal);
	if (r != 0)
		return r;
	r = prefixes_read(json, where, port, refusal);
	if (r != 0 || kind != DOCUMENT_POLICY)
		return r;
	return duration_read(json, where, &port->max_duration, refusal);
}

/* A policy may name none: that is how a control plane lets go of a VM. */
static int claim_ports(const json_t *claims, struct document *document, struct refusal *refusal)
{
	size_t min = document->kind == DOCUMENT_POLICY ? 0 : 1;
	const json_t *list = json_object_get(claims, "ports");
	const json_t *json;
	size_t i;
	int r;

	r = list_check(list, &(struct where){ "" }, "ports", min, DOCUMENT_PORTS_MAX, refusal);
	if (r != 0)
		return r;
	document->ports = calloc(json_array_size(list) + 1, sizeof(*document->ports));
	if (!document->ports)
		return -ENOMEM;
	json_array_foreach (list, i, json) {
		struct where where;

		snprintf(where.text, sizeof(where.text), "port %zu of the list: ", i + 1);
		/* Counted before it is whole, so that document_free() sees it. */
		document->n_ports++;
		r = port_read(document->kind, json, &where, &document->ports[i], refusal);
		if (r != 0)
			return r;
	}
	return 0;
}

static int grant_read(const json_t *claims, struct document *grant, struct refusal *refusal)
{
	int64_t start;
	int r;

	r = claim_string(claims, "sub", &grant->subject, refusal);
	if (r != 0)
		return r;
	r = claim_string_optional(claims, "justification", &grant->justification, refusal);
	if (r != 0)
		return r;
	grant->not_before = grant->issued_at;
	if (json_object_get(claims, "nbf")) {
		r = claim_time(claims, "nbf", &grant->not_before, refusal);
		if (r != 0)
			return r;
	}
	r = claim_time(claims, "exp", &grant->expires, refusal);
	if (r != 0)
		return r;
	start = grant->not_before > grant->issued_at ? grant->not_before : grant->issued_at;
	if (grant->expires <= start) {
		char expires_text[TIME_STRING_MAX], start_text[TIME_STRING_MAX];

		return refuse(refusal, REFUSAL_MALFORMED, "exp (%s) is not after %s (%s)",
			time_format_utc(grant->expires, expires_text),
			grant->not_before > grant->issued_at ? "nbf" : "iat",
			time_format_utc(start, start_text));
	}
	return claim_ports(claims, grant, refusal);
}

static int sessions_read(const json_t *claims, enum sessions_action *ret, struct refusal *refusal)
{
	const json_t *value = json_object_get(claims, "sessions");
	const char *text = json_string_value(value);

	if (!value)
		*ret = SESSIONS_DEFAULT;
	else if (text && strcmp(text, "keep") == 0)
		*ret = SESSIONS_KEEP;
	else if (text && strcmp(text, "kill") == 0)
		*ret = SESSIONS_KILL;
	else
		return refuse(refusal, REFUSAL_MALFORMED, "sessions is not \"keep\" or \"kill\"");
	return 0;
}

static int revocation_read(
	const json_t *claims, struct document *revocation, struct refusal *refusal)
{
	const json_t *list = json_object_get(claims, "revokes");
	const json_t *value;
	size_t i;
	int r;

	r = sessions_read(claims, &revocation->sessions, refusal);
	if (r != 0)
		return r;
	r = claim_string_optional(claims, "reason", &revocation->reason, refusal);
	if (r != 0)
		return r;
	r = list_check(list, &(struct where){ "" }, "revokes", 1, DOCUMENT_REVOKES_MAX, refusal);
	if (r != 0)
		return r;
	revocation->revokes = calloc(json_array_size(list), sizeof(*revocation->revokes));
	if (!revocation->revokes)
		return -ENOMEM;
	json_array_foreach (list, i, value) {
		if (!json_is_string(value) || !document_id_is_valid(json_string_value(value)))
			return refuse(refusal, REFUSAL_MALFORMED,
				"element %zu of revokes is not a jti: 1 to %d letters, digits and "
				". _ ~ -",
				i + 1, DOCUMENT_ID_MAX);
		r = string_copy(value, &revocation->revokes[i]);
		if (r < 0)
			return r;
		revocation->n_revokes++;
	}
	return 0;
}

static int policy_read(const json_t *claims, struct document *policy, struct refusal *refusal)
{
	const json_t *version = json_object_get(claims, "version");

	if (!json_is_integer(version) || json_integer_value(version) < 1)
		return refuse(refusal, REFUSAL_MALFORMED,
			"version is missing or not a whole number from 1 up");
	policy->version = (uint64_t)json_integer_value(version);
	return claim_ports(claims, policy, refusal);
}

static int common_read(const json_t *claims, struct document *document, struct refusal *refusal)
{
	int r;

	r = claim_id(claims, &document->id, refusal);
	if (r != 0)
		return r;
	r = claim_string(claims, "iss", &document->issuer, refusal);
	if (r != 0)
		return r;
	r = audience_check(claims, refusal);
	if (r != 0)
		return r;
	return claim_time(claims, "iat", &document->issued_at, refusal);
}

int document_from_claims(enum document_kind kind, const json_t *claims, struct document **ret,
	struct refusal *refusal)
{
	static int (*const read[])(const json_t *, struct document *, struct refusal *) = {
		[DOCUMENT_GRANT] = grant_read,
		[DOCUMENT_REVOCATION] = revocation_read,
		[DOCUMENT_POLICY] = policy_read,
	};
	_cleanup_(document_freep) struct document *document = NULL;
	int r;

	if (!json_is_object(claims))
		return refuse(refusal, REFUSAL_MALFORMED, "the claims are not an object");
	document = calloc(1, sizeof(*document));
	if (!document)
		return -ENOMEM;
	document->kind = kind;
	r = common_read(claims, document, refusal);
	if (r != 0)
		return r;
	r = read[kind](claims, document, refusal);
	if (r != 0)
		return r;
	*ret = TAKE_PTR(document);
	return 0;
}
