/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A person's client.conf, and a file with a token: a byte for which, then the file. */

#include "agent/cli/client_conf.h"
#include "agent/common/bearer.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool is_token = take_byte(&data, &size) & 1;
	_cleanup_(freep) char *path = scratch_file("client.conf", data, size), *error = NULL,
			      *token = NULL;
	_cleanup_(client_conf_done) struct client_conf conf = {};
	int r = is_token ? token_load(path, &token, &error) : client_conf_load(path, &conf, &error);

	if (r < 0) {
		check_message(error);
		return 0;
	}
	CHECK(!error);
	CHECK(!is_token || bearer_is_valid(token));
	CHECK(!conf.token || bearer_is_valid(conf.token));
	return 0;
}
