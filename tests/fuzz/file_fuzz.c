/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The files that commands read: a byte for the command, one for how it is called, then the file. */

#include "tests/fuzz/commands.h"
#include "tests/fuzz/signing.h"

static const char *input_path(void)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/input", scratch_directory());
	return path;
}

static const char *key_path(void)
{
	static char *path;
	_cleanup_(freep) char *text = NULL;

	if (path)
		return path;
	text = json_dumps(signing_key(0), JSON_COMPACT);
	return path = scratch_file("key.jwk", text, strlen(text));
}

static const char *trust_path(void)
{
	static char *path;
	_cleanup_(freep) char *text = NULL;

	if (path)
		return path;
	text = signing_trust(1);
	return path = scratch_file("trust.jwks", text, strlen(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct call calls[] = {
		{ &command_verify, { "--trust", trust_path(), input_path() } },
		{ &command_verify, { "--trust", input_path(), key_path() } },
		{ &command_key_public, { input_path() } },
		{ &command_audit, { "--file", input_path() } },
		{ &command_audit, { "verify", "--file", input_path() } },
		{ &command_sign, { "--key", key_path(), "--type", "grant", input_path() } },
		{ &command_sign, { "--key", key_path(), "--type", "policy", input_path() } },
		{ &command_sign,
			{ "--key", input_path(), "--type", "revocation", "--revokes", "x" } },
		{ &command_submit, { input_path() } },
		{ &command_key_fingerprint, { input_path() } },
	};
	const struct call *call = &calls[take_byte(&data, &size) % N_ELEMENTS(calls)];
	unsigned how = take_byte(&data, &size);

	free(scratch_file("input", data, size));
	call_check(call, how);
	return 0;
}
