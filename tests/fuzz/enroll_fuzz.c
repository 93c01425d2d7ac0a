/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What enrolling makes of a control plane's answers: a byte for the command, one for how it is
 * called and what is there already, then answers, a line each (plane.h). Where it is done, agent,
 * poll and people can read all that it has written, and nothing else was; where it fails,
 * agent.conf is as it was.
 */

#include "agent/cli/client_conf.h"
#include "agent/common/config.h"
#include "agent/common/file.h"
#include "agent/common/varlink.h"
#include "tests/fuzz/plane.h"
#include "tests/fuzz/signing.h"

#define HAS_CONFIG 0x04
#define HAS_TRUST 0x08
#define FILE_BYTES_MAX (64 * 1024)

static char config_path[256], trust_path[256], token_path[256];
static char *config_before, *trust_before;

#define WORDS "http://localhost:1", "--config", config_path, "--yes", "--token", "t"

enum {
	ENROLL,
	REPLACE,
	UPDATE_TRUST,
};

static const struct call calls[] = {
	[ENROLL] = { &command_enroll, { WORDS } },
	[REPLACE] = { &command_enroll, { WORDS, "--replace" } },
	[UPDATE_TRUST] = { &command_enroll,
		{ "http://localhost:1", "--update-trust", "--yes", "--config", config_path } },
};

/* Nobody's agent is asked to take it up. */
int varlink_client_open(const char *path, int timeout_ms, struct varlink_client **ret)
{
	(void)path, (void)timeout_ms, (void)ret;
	return -ENOENT;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	snprintf(config_path, sizeof(config_path), "%s/agent.conf", scratch_directory());
	snprintf(trust_path, sizeof(trust_path), "%s/trust.jwks", scratch_directory());
	snprintf(token_path, sizeof(token_path), "%s/feed-token", scratch_directory());
	trust_before = signing_trust(1);
	CHECK(asprintf(&config_before,
		      "[agent]\nvm_id = vm\ntrust = %s\n[feed]\nurl = http://localhost:1\n"
		      "token = %s\n[port ssh]\nnumber = 22\n",
		      trust_path, token_path) >= 0);
	return 0;
}

static void place_files(unsigned how)
{
	const char *const paths[] = { config_path, trust_path, token_path };
	static const char *const suffixes[] = { "", ".before-enroll" };

	for (size_t i = 0; i < N_ELEMENTS(paths) * N_ELEMENTS(suffixes); i++) {
		char path[300];

		snprintf(path, sizeof(path), "%s%s", paths[i / 2], suffixes[i % 2]);
		(void)unlink(path);
	}
	if (how & HAS_CONFIG)
		free(scratch_file("agent.conf", config_before, strlen(config_before)));
	if (how & HAS_TRUST)
		free(scratch_file("trust.jwks", trust_before, strlen(trust_before)));
}

static void check_enrolled(unsigned how)
{
	_cleanup_(freep) char *token = NULL, *error = NULL;
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(trust_freep) struct trust *trust = NULL;

	CHECK(config_load(config_path, &config, &error) == 0);
	CHECK(config->feed.url && strcmp(config->trust, trust_path) == 0);
	CHECK(strcmp(config->feed.token, token_path) == 0);
	CHECK(config->n_ports == (how & HAS_CONFIG ? 1 : 0) && config->mode == MODE_ENFORCE);
	CHECK(trust_load(trust_path, &trust, &error) == 0);
	CHECK(trust->n_keys > 0);
	CHECK(token_load(token_path, &token, &error) == 0);
}

static void check_unchanged(unsigned how)
{
	_cleanup_(freep) char *config = NULL, *trust = NULL;
	size_t n_bytes;

	(void)file_read(config_path, FILE_BYTES_MAX, &config, &n_bytes);
	check_same_text(config, how & HAS_CONFIG ? config_before : NULL);
	(void)file_read(trust_path, FILE_BYTES_MAX, &trust, &n_bytes);
	check_same_text(trust, how & HAS_TRUST ? trust_before : NULL);
	CHECK(access(token_path, F_OK) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const unsigned which = size > 0 ? data[0] : 0, how = size > 1 ? data[1] : 0;
	int r;

	place_files(how);
	r = call_with_lines(calls, N_ELEMENTS(calls), data, size);
	if (r != EXIT_DONE)
		check_unchanged(how);
	else if (which % N_ELEMENTS(calls) != UPDATE_TRUST)
		check_enrolled(how);
	return 0;
}
