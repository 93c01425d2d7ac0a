/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A whole agent on the kernel of outside.h, in directories of this process, and signatures: where
 * the input has {"typ": …, "claims": {…}} for a document, the agent gets it signed; small numbers
 * as times are seconds from now. Rules are not built.
 *
 * Starting one takes some ten times as long as all that an input asks of it. So there is one, and
 * between inputs it forgets and reads again what an agent that dies and starts does; the kernel's
 * side, the socket and the configuration stay.
 */

#include "agent/common/times.h"
#include "agent/daemon/agent.h"
#include "agent/daemon/feed_report.h"
#include "agent/daemon/gatekeeper.h"
#include "agent/daemon/mode.h"
#include "agent/daemon/restore.h"
#include "agent/daemon/service.h"
#include "agent/daemon/sessions.h"
#include "tests/fuzz/outside.h"
#include "tests/fuzz/stamp.h"

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
	text = stamp(header, strlen(header), payload, strlen(payload));
	json_object_set_new(object, "document", json_string(text));
}

static inline void check_element(const struct ruleset *ruleset, const struct element *element)
{
	const bool is_tcp = element->l4proto == IPPROTO_TCP;
	const struct port_range *ranges = is_tcp ? ruleset->tcp : ruleset->udp;
	const size_t n_ranges = is_tcp ? ruleset->n_tcp : ruleset->n_udp;
	size_t i = 0;

	CHECK(is_tcp || element->l4proto == IPPROTO_UDP);
	CHECK(element->sources.family == AF_INET || element->sources.family == AF_INET6);
	CHECK(address_compare(&element->sources.first, &element->sources.last) <= 0);
	CHECK(element->timeout_ms > 0);
	while (i < n_ranges && element->ports.first > ranges[i].last)
		i++;
	CHECK(i < n_ranges && element->ports.first >= ranges[i].first);
	CHECK(element->ports.last <= ranges[i].last);
}

/* Takes what it is asked for, which is for managed ports only and ends. What it would make of it
 * is gate_fuzz.c's. */
int gate_install(struct gate *gate, const struct ruleset *ruleset,
	const struct element_list *grants, enum gate_install *ret_found, bool *ret_owned,
	const char **ret_what)
{
	(void)gate, (void)ret_what;
	for (size_t i = 0; grants && i < grants->n; i++)
		check_element(ruleset, &grants->elements[i]);
	*ret_found = GATE_WAS_PRESENT;
	*ret_owned = ruleset->owned;
	return 0;
}

/* What every start and reload asks of the machine, and would take most of the time. */
int gate_find_destination_nat(struct gate *gate, bool *ret)
{
	(void)gate;
	*ret = false;
	return 0;
}

bool forwarding_is_on(void)
{
	return false;
}

int vrfs_read(struct vrfs *ret)
{
	ret->exist = false;
	ret->n_members = 0;
	return 0;
}

int sockets_watch(struct sockets *sockets, const struct port_range *tcp, size_t n_tcp)
{
	(void)sockets, (void)tcp, (void)n_tcp;
	return 0;
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

static inline void source_drop(sd_event_source **source)
{
	*source = sd_event_source_disable_unref(*source);
}

/* It dies: what it had in memory is gone, what it had in files is not. */
static inline void agents_stop(struct agent *agent)
{
	for (size_t i = 0; i < agent->n_subscribers; i++)
		varlink_call_unref(agent->subscribers[i]);
	agent->n_subscribers = 0;
	mode_stop(agent);
	source_drop(&agent->catch_up_source);
	source_drop(&agent->unread_source);
	source_drop(&agent->owed_source);
	source_drop(&agent->compact_source);
	source_drop(&agent->time_source);
	agent->sessions = sessions_free(agent->sessions);
	agent->registry = registry_free(agent->registry);
	agent->access = access_map_free(agent->access);
	agent->audit = audit_free(agent->audit);
	agent->feed = feed_report_free(agent->feed);
	agent->ledger = ledger_free(agent->ledger);
	agent->runtime = ledger_free(agent->runtime);
	json_decref(agent->owed);
	agent->owed = NULL;
	policies_done(&agent->policies);
	agent->policy = document_free(agent->policy);
	agent->config->mode = MODE_AUDIT;
	agent->trial = (struct trial){};
	agent->refusals = (struct refusals){};
	agent->latest_usec = agent->retry_usec = agent->repaired_usec = agent->unread_usec = 0;
}

static inline void on_audit_record(json_t *record, void *userdata)
{
	service_publish(userdata, record);
}

/* It starts again, in the order of agent_start(). */
static inline void agents_start(struct agent *agent)
{
	int error;

	CHECK(restore_open(agent) == 0);
	CHECK(policies_init(&agent->policies, agent->config, NULL, NULL) == 0);
	CHECK(registry_new(&agent->registry) == 0);
	CHECK(access_map_new(&agent->access) == 0);
	CHECK(sessions_new(agent, &agent->sessions) == 0);
	CHECK(audit_open(agent->config, on_audit_record, agent, &agent->audit, &error) == 0);
	CHECK(error == 0);
	CHECK(mode_start(agent) == 0);
	CHECK(restore_all(agent) == 0);
	CHECK(restore_count_connections(agent) == 0);
	CHECK(gatekeeper_install(agent) == 0);
	CHECK(restore_finish(agent) == 0);
}

static inline void remove_file(const char *name)
{
	_cleanup_(freep) char *path = NULL;

	CHECK(asprintf(&path, "%s/%s", scratch_directory(), name) >= 0);
	(void)unlink(path);
}

/* And nothing is left of it. */
static inline void agents_forget(struct agent *agent)
{
	agents_stop(agent);
	remove_file("state/ledger");
	remove_file("run/ledger");
	remove_file("run/trial");
	remove_file("state/audit.sequence");
	remove_file("run/audit.sequence");
	remove_file("log/audit.jsonl");
}

/* The one agent, stopped, with nothing to remember: as agents_forget() leaves it after each input.
 */
static inline struct agent *agents_get(void)
{
	static struct agent *agent;
	struct config *config;
	struct trust *trust;
	sd_event *event;
	char *error;

	if (agent)
		return agent;
	kernel_answer_with(NULL, 0);
	CHECK(agent_load(agents_configuration(), &config, &trust, &error) == 0);
	CHECK(sd_event_new(&event) >= 0);
	CHECK(agent_new(event, agents_configuration(), config, trust, NULL, &agent) == 0);
	sd_event_unref(event);
	agents_forget(agent);
	return agent;
}
