/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What comes to the control plane besides bodies: a byte for the kind, then a target (path and
 * query), a token of an issuer (a line of header, then claims; it is signed), an issuer's JWK Set,
 * a token as the store keeps it, a name.
 */

#include "contrib/control-plane/http/uri.h"
#include "contrib/control-plane/identity/issuer.h"
#include "contrib/control-plane/identity/tokens.h"
#include "contrib/control-plane/jit/names.h"
#include "tests/fuzz/stamp.h"

#define NOW 1767261600

static struct issuer issuer;

static void try_uri(const char *text, size_t n_bytes)
{
	static const char pattern[] = "/v1/vms/{vm}/documents";
	const char *reason = NULL;
	struct uri uri;

	(void)n_bytes;
	if (uri_parse(text, &uri, &reason) < 0) {
		check_message(reason);
		uri_done(&uri);
		return;
	}
	CHECK(uri.n_segments <= URI_SEGMENTS_MAX && uri.n_parameters <= URI_PARAMETERS_MAX);
	for (size_t i = 0; i < uri.n_segments; i++)
		CHECK(text_is_printable(uri.segments[i]));
	for (size_t i = 0; i < uri.n_parameters; i++) {
		CHECK(text_is_printable(uri.parameters[i].name));
		CHECK(text_is_printable(uri.parameters[i].value));
		CHECK(uri_parameter(&uri, uri.parameters[i].name) == uri.parameters[i].value);
	}
	if (uri_matches(&uri, pattern))
		CHECK(uri_segment(&uri, pattern, "vm") == uri.segments[2]);
	uri_done(&uri);
}

static void try_token(const char *text, size_t n_bytes)
{
	const char *newline = memchr(text, '\n', n_bytes), *reason = NULL;
	struct issued issued = {};
	char *token;
	int r;

	token = newline ? stamp(text, (size_t)(newline - text), newline + 1,
				  n_bytes - (size_t)(newline + 1 - text))
			: strdup(text);
	r = issuer_read_token(&issuer, 1, token, NOW, &issued, &reason);
	CHECK(r == 0 || r == NOT_ISSUED);
	if (r == NOT_ISSUED)
		check_message(reason);
	else {
		CHECK(*issued.principal && text_is_printable(issued.principal));
		CHECK(!issued.groups || json_is_array(issued.groups));
	}
	issued_done(&issued);
	free(token);
}

static void try_keys(const char *text, size_t n_bytes)
{
	_cleanup_(freep) char *error = NULL;
	struct issuer another = { .jwks = scratch_file("keys.jwks", text, n_bytes) };
	int r = issuer_load_keys(&another, &error);

	CHECK((r < 0) == (error != NULL));
	if (r < 0)
		check_message(error);
	for (size_t i = 0; r == 0 && i < another.n_keys; i++)
		CHECK(algorithm_is_supported(another.keys[i].alg));
	issuer_done(&another);
}

static void try_entry(const char *text, size_t n_bytes)
{
	const struct store_entry entry = {
		.key = TOKENS_PREFIX "00", .value = text, .n_value = n_bytes
	};
	struct token token, again;

	if (token_read(&entry, &token) == 0) {
		_cleanup_(freep) char *written = token_format(&token);
		const struct store_entry second = {
			.key = entry.key, .value = written, .n_value = strlen(written)
		};

		CHECK(token_read(&second, &again) == 0);
		check_same_text(token.principal, again.principal);
		check_same_text(token.assignment.scope, again.assignment.scope);
		CHECK(token.expires == again.expires && token.created == again.created);
		token_done(&again);
		token_done(&token);
	}
}

static void try_name(const char *text, size_t n_bytes)
{
	char request[REQUEST_ID_BYTES_MAX], grant[GRANT_ID_BYTES_MAX];
	const char *reason = vm_id_check(text);
	size_t vm, port;

	(void)n_bytes;
	if (reason)
		check_message(reason);
	else
		CHECK(*resource_name(text) && scope_holds("/", text));
	if (scope_check(text) == 0 && !reason)
		CHECK(scope_holds(text, text));
	reason = name_check(text);
	if (reason)
		check_message(reason);
	if (grant_id_parse(text, request, &vm, &port)) {
		CHECK(request_id_is_valid(request));
		grant_id_format(request, vm, port, grant);
		check_same_text(grant, text);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	_cleanup_(freep) char *text = signing_trust(SIGNING_KEYS);
	char *error;

	(void)argc, (void)argv;
	issuer = (struct issuer){
		.name = strdup("i"),
		.issuer = strdup("https://issuer"),
		.audience = strdup("jit"),
		.jwks = scratch_file("issuer.jwks", text, strlen(text)),
		.principal_claim = strdup("email"),
		.groups_claim = strdup("groups"),
	};
	CHECK(issuer_load_keys(&issuer, &error) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(const char *text, size_t n_bytes) = {
		try_uri,
		try_token,
		try_keys,
		try_entry,
		try_name,
	};
	unsigned kind = take_byte(&data, &size) % N_ELEMENTS(kinds);
	_cleanup_(freep) char *text = take_text(data, size);

	kinds[kind](text, size);
	return 0;
}
