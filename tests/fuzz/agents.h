/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A whole agent on the kernel of outside.h, in directories of this process, and signatures: where
 * the input has {"typ": …, "claims": {…}} for a document, the agent gets it signed; small numbers
 * as times are seconds from now.
 */

#include <dirent.h>

#include "agent/common/times.h"
#include "agent/daemon/agent.h"
#include "tests/fuzz/outside.h"
#include "tests/fuzz/signing.h"

#define RELATIVE_MAX 1000000

static inline void make_relative(json_t *claims, const char *name)
{
	json_t *value = json_object_get(claims, name);
	json_int_t number = json_integer_value(value);

	if (json_is_integer(value) && number > -RELATIVE_MAX && number < RELATIVE_MAX)
		json_object_set_new(claims, name,
			json_integer(number + (json_int_t)(clock_realtime_usec() / USEC_PER_SEC)));
}

/* Puts a signed document in the place of what is to be one. */
static inline void sign_document(json_t *object)
{
	const json_t *document = json_object_get(object, "document");
	json_t *claims = json_object_get(document, "claims");
	const char *typ = json_string_value(json_object_get(document, "typ"));
	_cleanup_(freep) char *payload = NULL, *header = NULL, *text = NULL;
	json_auto_t *head = NULL;

	if (!claims || !typ)
		return;
	make_relative(claims, "iat");
	make_relative(claims, "nbf");
	make_relative(claims, "exp");
	head = json_pack("{s:s, s:s, s:s}", "alg", "ES256", "kid", "ES256", "typ", typ);
	header = json_dumps(head, JSON_COMPACT);
	payload = json_dumps(claims, JSON_COMPACT | JSON_ENCODE_ANY);
	text = sign_any(0, header, strlen(header), payload, strlen(payload));
	json_object_set_new(object, "document", json_string(text));
}

static inline void remove_file(const char *name)
{
	_cleanup_(freep) char *path = NULL;

	CHECK(asprintf(&path, "%s/%s", scratch_directory(), name) >= 0);
	(void)unlink(path);
}

/* Nothing is left of the agent before. */
static inline void agents_forget(void)
{
	remove_file("state/ledger");
	remove_file("run/ledger");
	remove_file("run/trial");
	remove_file("log/audit.jsonl");
}

/* Directories, configuration and trust file: once. */
static inline const char *agents_configuration(void)
{
	static char *path;
	_cleanup_(freep) char *text = NULL, *trust = NULL, *trust_path = NULL;
	const char *directory = scratch_directory();
	static const char *const parts[] = { "state", "run", "log" };

	if (path)
		return path;
	for (size_t i = 0; i < N_ELEMENTS(parts); i++) {
		_cleanup_(freep) char *part = NULL;

		CHECK(asprintf(&part, "%s/%s", directory, parts[i]) >= 0);
		CHECK(mkdir(part, 0700) == 0);
	}
	trust = signing_trust(1);
	trust_path = scratch_file("trust.jwks", trust, strlen(trust));
	CHECK(asprintf(&text,
		      "[agent]\nvm_id = vm\ntrust = %s\nstate_directory = %s/state\n"
		      "runtime_directory = %s/run\nlog_directory = %s/log\nmax_grants = 16\n"
		      "mode = audit\n"
		      "[port ssh]\nnumber = 22\n"
		      "[port media]\nnumber = 5000-5010\nprotocol = *\n"
		      "allowed_source_address_prefixes = 10.0.0.0/8 2001:db8::/32\n"
		      "always_allow = 10.9.0.0/16\non_expiry = kill\n",
		      trust_path, directory, directory, directory) >= 0);
	return path = scratch_file("agent.conf", text, strlen(text));
}

static inline struct agent *agents_start(sd_event *event)
{
	const char *path = agents_configuration();
	struct config *config;
	struct trust *trust;
	struct agent *agent;
	char *error;

	kernel_answer_with(NULL, 0);
	CHECK(agent_load(path, &config, &trust, &error) == 0);
	CHECK(agent_new(event, path, config, trust, NULL, &agent) == 0);
	return agent;
}
