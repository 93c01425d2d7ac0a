/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The control plane's configuration. */

#include "contrib/control-plane/config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *path = scratch_file("server.conf", data, size), *error = NULL;
	_cleanup_(server_config_freep) struct server_config *config = NULL;

	if (server_config_load(path, &config, &error) != 0) {
		check_message(error);
		return 0;
	}
	CHECK(!error);
	CHECK(config->listen && config->url && config->state && config->signing_key);
	CHECK(config->n_issuers <= SERVER_ISSUERS_MAX);
	CHECK(config->n_assignments <= SERVER_ASSIGNMENTS_MAX);
	return 0;
}
