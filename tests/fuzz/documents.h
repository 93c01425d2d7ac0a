/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What holds for every document that was accepted, and its claims written out again. */

#include <jansson.h>

#include "agent/common/document.h"
#include "agent/common/times.h"
#include "tests/fuzz/fuzz.h"

static inline void check_refusal(const struct refusal *refusal)
{
	CHECK(refusal->code > REFUSAL_NONE && refusal->code < REFUSAL_CODE_COUNT);
	check_message(refusal_code_name(refusal->code));
	CHECK(memchr(refusal->message, '\0', sizeof(refusal->message)));
	check_message(refusal->message);
}

static inline void check_port(const struct document *document, const struct document_port *port)
{
	CHECK(port->ports.first >= 1 && port->ports.first == port->ports.last);
	CHECK(port->protocols != 0 && (port->protocols & ~(unsigned)PROTOCOL_ANY) == 0);
	CHECK(port->n_prefixes >= 1 && port->n_prefixes <= DOCUMENT_PREFIXES_MAX);
	if (document->kind == DOCUMENT_POLICY)
		CHECK(port->max_duration >= 1 && port->max_duration <= DURATION_SECONDS_MAX);
	else
		CHECK(port->max_duration == 0);
}

static inline void check_string(const char *text)
{
	CHECK(strlen(text) <= DOCUMENT_STRING_MAX);
	CHECK(text_is_printable(text));
}

static inline void check_document(const struct document *document)
{
	CHECK(document_id_is_valid(document->id));
	check_message(document->issuer);
	check_string(document->issuer);
	CHECK(document->issued_at >= 0);
	CHECK(document->n_ports <= DOCUMENT_PORTS_MAX);
	CHECK(document->n_revokes <= DOCUMENT_REVOKES_MAX);
	CHECK(document->kind == DOCUMENT_POLICY || /* which may name none */
		(document->n_ports > 0) == (document->kind == DOCUMENT_GRANT));
	CHECK((document->n_revokes > 0) == (document->kind == DOCUMENT_REVOCATION));
	for (size_t i = 0; i < document->n_ports; i++)
		check_port(document, &document->ports[i]);
	for (size_t i = 0; i < document->n_revokes; i++)
		CHECK(document_id_is_valid(document->revokes[i]));
	if (document->kind == DOCUMENT_GRANT) {
		check_message(document->subject);
		check_string(document->subject);
		CHECK(document->expires > document->not_before);
		CHECK(document->expires > document->issued_at);
	}
	if (document->justification)
		check_string(document->justification);
	if (document->reason)
		check_string(document->reason);
	if (document->kind == DOCUMENT_POLICY)
		CHECK(document->version >= 1);
}

static inline json_t *port_claims(const struct document *document, const struct document_port *port)
{
	json_t *list = json_array();
	json_t *json = json_pack("{s:i, s:s, s:o}", "number", port->ports.first, "protocol",
		protocol_format(port->protocols), "allowedSourceAddressPrefixes", list);
	char text[TIME_STRING_MAX];

	for (size_t i = 0; i < port->n_prefixes; i++) {
		char prefix[PREFIX_STRING_MAX];

		json_array_append_new(list, json_string(prefix_format(&port->prefixes[i], prefix)));
	}
	if (document->kind == DOCUMENT_POLICY)
		json_object_set_new(json, "maxRequestAccessDuration",
			json_string(duration_format(port->max_duration, text)));
	return json;
}

static inline void set_text(json_t *claims, const char *name, const char *text)
{
	if (text)
		json_object_set_new(claims, name, json_string(text));
}

/* New reference. The audience, which is not kept, is "vm". */
static inline json_t *document_claims(const struct document *document)
{
	static const char *const sessions[] = { NULL, "keep", "kill" };
	json_t *claims = json_pack("{s:s, s:s, s:s, s:I}", "iss", document->issuer, "aud", "vm",
		"jti", document->id, "iat", (json_int_t)document->issued_at);
	json_t *ports = json_array(), *revokes = json_array();

	for (size_t i = 0; i < document->n_ports; i++)
		json_array_append_new(ports, port_claims(document, &document->ports[i]));
	for (size_t i = 0; i < document->n_revokes; i++)
		json_array_append_new(revokes, json_string(document->revokes[i]));
	json_object_set_new(claims, "ports", ports);
	json_object_set_new(claims, "revokes", revokes);
	set_text(claims, "sub", document->subject);
	set_text(claims, "justification", document->justification);
	set_text(claims, "reason", document->reason);
	set_text(claims, "sessions", sessions[document->sessions]);
	json_object_set_new(claims, "nbf", json_integer(document->not_before));
	json_object_set_new(claims, "exp", json_integer(document->expires));
	json_object_set_new(claims, "version", json_integer((json_int_t)document->version));
	return claims;
}

/* Written and read again, it is the same. */
static inline void check_stable(const struct document *document)
{
	_cleanup_(document_freep) struct document *again = NULL;
	json_auto_t *claims = document_claims(document);
	json_auto_t *same = NULL;
	struct refusal refusal;

	CHECK(document_from_claims(document->kind, claims, &again, &refusal) == 0);
	check_document(again);
	same = document_claims(again);
	CHECK(json_equal(claims, same));
}
