/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Memory of the feed, and whose credential is whose. */

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "agent/common/log.h"
#include "agent/common/times.h"
#include "contrib/control-plane/feed/documents.h"
#include "contrib/control-plane/feed/feed.h"
#include "contrib/control-plane/identity/credential.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/server.h"
#include "contrib/control-plane/state/instant.h"

#define DOCUMENTS "documents/"
#define AGENTS "agents/"
#define ENROLL_BODY_BYTES_MAX 1024 /* nothing in it is read */

struct feed_agent *feed_ensure_agent(struct feed *feed, const char *vm_key)
{
	struct feed_agent *agent = table_find(&feed->agents, vm_key);

	if (agent)
		return agent;
	agent = calloc(1, sizeof(*agent));
	if (!agent)
		return NULL;
	agent->key = strdup(vm_key);
	if (agent->key && table_insert(&feed->agents, agent) == 0)
		return agent;
	free(agent->key);
	free(agent);
	return NULL;
}

static void agent_free(struct feed_agent *agent)
{
	for (size_t i = 0; i < agent->n_documents; i++)
		feed_document_done(&agent->documents[i]);
	free(agent->documents);
	free(agent->key);
	free(agent->id);
	free(agent);
}

static void credential_free(struct feed_credential *credential)
{
	if (!credential)
		return;
	free(credential->key);
	free(credential);
}

/* Memory would no longer follow: start again rather than withhold what was signed. */
static void stop(struct feed *feed, int error)
{
	sd_event_exit(feed->options.event, error);
}

static int documents_take(struct feed *feed, const struct store_event *event)
{
	const char *bar = strrchr(event->entry.key, '|');
	_cleanup_(freep) char *vm_key = NULL;
	struct feed_agent *agent;
	int r;

	if (!bar)
		return 0;
	vm_key = strndup(event->entry.key + strlen(DOCUMENTS),
		(size_t)(bar - event->entry.key) - strlen(DOCUMENTS));
	agent = vm_key ? feed_ensure_agent(feed, vm_key) : NULL;
	if (!agent)
		return -ENOMEM;
	feed_documents_remove(agent, bar + 1);
	if (event->deleted)
		return 0;
	r = feed_documents_add(agent, bar + 1, event->entry.value, event->entry.mod_revision);
	agent->is_touched = r == 0;
	return r;
}

/* First all of a revision, then those who wait for it. */
static void on_documents(int error, int64_t revision, const struct store_event *events,
	size_t n_events, void *userdata)
{
	struct feed *feed = userdata;

	(void)revision;
	for (size_t i = 0; i < n_events && error == 0; i++)
		error = documents_take(feed, &events[i]);
	if (error < 0)
		return stop(feed, error);
	for (size_t i = 0; i < n_events; i++) {
		const char *key = events[i].entry.key + strlen(DOCUMENTS);
		const char *bar = strrchr(key, '|');
		_cleanup_(freep) char *vm_key = bar ? strndup(key, (size_t)(bar - key)) : NULL;
		struct feed_agent *agent = vm_key ? table_find(&feed->agents, vm_key) : NULL;

		if (agent && agent->is_touched) {
			agent->is_touched = false;
			feed_documents_wake(feed, agent);
		}
	}
}

static void credential_forget(struct feed *feed, const char *hash)
{
	struct feed_credential *credential = table_remove(&feed->credentials, hash);

	if (!credential)
		return;
	/* Of one that has been replaced the name stays. */
	if (credential->agent) {
		bool has_other = false;

		for (size_t i = 0; i < feed->credentials.n; i++)
			has_other |=
				((struct feed_credential *)feed->credentials.items[i])->agent ==
				credential->agent;
		if (!has_other) {
			free(credential->agent->id);
			credential->agent->id = NULL;
			feed_documents_end(credential->agent);
		}
	}
	credential_free(credential);
}

static int credential_learn(
	struct feed *feed, const char *hash, const json_t *json, int64_t revision)
{
	const char *vm = json_string_value(json_object_get(json, "vm"));
	struct feed_credential *credential;
	_cleanup_(freep) char *vm_key = vm ? name_lower(vm) : NULL;
	_cleanup_(freep) char *id = vm ? strdup(vm) : NULL;

	if (!vm)
		return -EINVAL;
	credential_free(table_remove(&feed->credentials, hash));
	credential = calloc(1, sizeof(*credential));
	if (!credential)
		return -ENOMEM;
	credential->key = strdup(hash);
	credential->agent = vm_key ? feed_ensure_agent(feed, vm_key) : NULL;
	credential->enrolled = instant_from_json(json, "enrolled");
	credential->mod_revision = revision;
	if (!id || !credential->key || !credential->agent ||
		table_insert(&feed->credentials, credential) < 0) {
		credential_free(credential);
		return -ENOMEM;
	}
	free(credential->agent->id);
	credential->agent->id = TAKE_PTR(id);
	return 0;
}

static void on_credentials(int error, int64_t revision, const struct store_event *events,
	size_t n_events, void *userdata)
{
	struct feed *feed = userdata;

	(void)revision;
	if (error < 0)
		return stop(feed, error);
	for (size_t i = 0; i < n_events; i++) {
		const struct store_event *event = &events[i];
		const char *hash = event->entry.key + strlen(AGENTS);
		json_auto_t *json = NULL;

		if (event->deleted) {
			credential_forget(feed, hash);
			continue;
		}
		json = json_loadb(event->entry.value, event->entry.n_value, 0, NULL);
		error = credential_learn(feed, hash, json, event->entry.mod_revision);
		if (error == -ENOMEM)
			return stop(feed, error);
		if (error < 0)
			log_line(
				3, "%s: not as this version writes it; left out", event->entry.key);
	}
}

int feed_new(const struct feed_options *options, struct feed **ret)
{
	_cleanup_(feed_freep) struct feed *feed = calloc(1, sizeof(*feed));
	int r;

	if (!feed)
		return -ENOMEM;
	feed->options = *options;
	r = store_watch(options->store, DOCUMENTS, 0, on_documents, feed, &feed->documents_watch);
	if (r < 0)
		return r;
	r = store_watch(options->store, AGENTS, 0, on_credentials, feed, &feed->credentials_watch);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(feed);
	return 0;
}

struct feed *feed_free(struct feed *feed)
{
	if (!feed)
		return NULL;
	store_watch_free(feed->documents_watch);
	store_watch_free(feed->credentials_watch);
	for (size_t i = 0; i < feed->credentials.n; i++)
		credential_free(feed->credentials.items[i]);
	for (size_t i = 0; i < feed->agents.n; i++)
		agent_free(feed->agents.items[i]);
	for (size_t i = 0; i < feed->n_delivered; i++)
		free(feed->delivered[i]);
	free(feed->delivered);
	table_done(&feed->agents);
	table_done(&feed->credentials);
	free(feed);
	return NULL;
}

/* "jitgate-poll/0.1.0 …": what stands behind the first slash. */
static void note_contact(struct feed_agent *agent, const struct http_request *call)
{
	const char *user_agent = http_request_header(call, "User-Agent");
	const char *slash = user_agent ? strchr(user_agent, '/') : NULL;
	size_t n;

	agent->last_contact = (int64_t)clock_realtime_usec();
	if (!slash)
		return;
	n = strspn(slash + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+~-");
	snprintf(agent->version, sizeof(agent->version), "%.*s", (int)(n > 31 ? 31 : n), slash + 1);
}

static void refuse_other(struct feed *feed, struct http_request *call,
	const struct feed_agent *agent, const char *vm)
{
	char message[1200];

	snprintf(message, sizeof(message), "this credential is of %.512s, not of %.512s",
		agent->id ? agent->id : agent->key, vm);
	activity_answer(feed->options.activity, call, 403, "AuthorizationFailed",
		&(struct activity_entry){
			.operation = OPERATION_AGENT "call",
			.principal = agent->id ? agent->id : agent->key,
			.vm = vm_id_check(vm) ? agent->id : vm,
			.result = "Denied",
			.code = "AuthorizationFailed",
			.message = message,
		});
}

bool feed_knows(const struct feed *feed, const char *hash)
{
	return table_find(&feed->credentials, hash);
}

struct feed_agent *feed_authenticate(struct feed *feed, struct http_request *call)
{
	const char *vm = http_request_parameter(call, "vm");
	_cleanup_(freep) char *vm_key = name_lower(vm);
	struct feed_credential *credential;
	char hash[CREDENTIAL_HASH_MAX];

	if (!vm_key || credential_hash(http_request_bearer(call), hash) < 0) {
		http_respond_error(call, 500, "InternalError", "out of memory");
		return NULL;
	}
	credential = table_find(&feed->credentials, hash);
	if (!credential) {
		/* It has been replaced since the call was let in. */
		server_refuse_credential(feed->options.server, call, FEED_REFUSAL);
		return NULL;
	}
	note_contact(credential->agent, call);
	if (strcmp(credential->agent->key, vm_key) != 0) {
		refuse_other(feed, call, credential->agent, vm);
		return NULL;
	}
	return credential->agent;
}

void feed_write_metrics(struct metrics_page *page, void *userdata)
{
	const struct feed *feed = userdata;
	size_t n_held = 0;

	for (size_t i = 0; i < feed->agents.n; i++)
		n_held += ((struct feed_agent *)feed->agents.items[i])->held != NULL;
	metrics_begin(page, "jitgate_server_agents_enrolled", "gauge", "Agents with a credential");
	metrics_sample(page, (double)feed->credentials.n, NULL);
	metrics_begin(page, "jitgate_server_agents_waiting", "gauge",
		"Agents that hold a request for documents");
	metrics_sample(page, (double)n_held, NULL);
	metrics_begin(page, "jitgate_server_policies", "gauge", "JIT policies");
	metrics_sample(page, (double)feed->options.jit->policies.n, NULL);
	metrics_begin(page, "jitgate_server_requests", "gauge", "Requests that are kept");
	metrics_sample(page, (double)feed->options.jit->requests.n, NULL);
}

const struct http_route feed_routes[] = {
	{ "GET", "/v1/vms/{vm}/documents", "documents", 0, feed_handle_documents, NEEDS_AGENT },
	{ "POST", "/v1/vms/{vm}/events", "events", FEED_EVENTS_BYTES_MAX, feed_handle_events,
		NEEDS_AGENT },
	{ "POST", "/v1/enroll", "enroll", ENROLL_BODY_BYTES_MAX, feed_handle_enroll,
		NEEDS_CREDENTIAL },
	{ "GET", "/v1/vms", "vms", 0, feed_handle_vms, NEEDS_PRINCIPAL },
	{ 0 },
};
