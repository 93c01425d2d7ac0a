/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>

#include "agent/common/text.h"
#include "agent/common/times.h"
#include "agent/daemon/caller.h"
#include "agent/daemon/feed_report.h"
#include "agent/daemon/interface.h"
#include "agent/daemon/mode.h"
#include "agent/daemon/service.h"
#include "agent/daemon/shapes.h"
#include "agent/daemon/submit.h"

#define INTERFACE "io.jitgate.Agent"
#define SOCKET_BACKLOG 64
#define REASON_BYTES_MAX 1024
#define EVENTS_MAX 1000 /* of an answer */
#define EVENTS_BYTES_MAX (256 * 1024)

static bool may_read(struct agent *agent, const struct varlink_call *call)
{
	return caller_may_read(&agent->callers, call);
}

static int not_permitted(struct varlink_call *call)
{
	return varlink_call_error(call, INTERFACE ".NotPermitted", NULL);
}

static int refused(struct varlink_call *call, const struct refusal *refusal)
{
	return varlink_call_error(call, INTERFACE ".Refused",
		json_pack("{s:s, s:s}", "code", refusal_code_name(refusal->code), "message",
			refusal->message));
}

static int failed(struct varlink_call *call, int status, const char *what)
{
	char message[256];

	snprintf(message, sizeof(message), "%s: %s", what, strerror(-status));
	log_line(LOG_ERR, "%s", message);
	return varlink_call_error(
		call, INTERFACE ".Failed", json_pack("{s:s}", "message", message));
}

/* Answers with a list that may be longer than any answer: who asks is told so. */
static int reply_list(struct varlink_call *call, json_t *reply, const char *what)
{
	int status = varlink_call_reply(call, reply);

	return status == -EMSGSIZE ? failed(call, status, what) : status;
}

static int call_submit(struct varlink_call *call, json_t *parameters, void *userdata)
{
	const json_t *document = json_object_get(parameters, "document");
	struct submission submission;
	struct refusal refusal = {};
	int status;

	if (!json_is_string(document))
		return varlink_call_invalid_parameter(call, "document");
	status = submit_document(userdata, json_string_value(document),
		json_string_length(document), &submission, &refusal);
	if (status == REFUSED)
		return refused(call, &refusal);
	if (status < 0)
		return failed(call, status, "the document could not be carried out");
	return varlink_call_reply(call,
		json_pack("{s:s, s:s, s:s, s:b}", "kind", submission.kind, "id", submission.id,
			"state", submission.state, "durable", submission.durable));
}

struct counts {
	json_int_t active;
	json_int_t scheduled;
};

static int count_grant(struct registry_entry *entry, void *userdata)
{
	struct counts *counts = userdata;

	if (entry->grant && entry->grant->state == GRANT_ACTIVE)
		counts->active++;
	else if (entry->grant && entry->grant->state == GRANT_SCHEDULED)
		counts->scheduled++;
	return 0;
}

static json_t *shape_trusted_keys(const struct trust *trust)
{
	json_t *keys = json_array();

	for (size_t i = 0; i < trust->n_keys; i++)
		json_array_append_new(keys, json_string(trust->keys[i].kid));
	return keys;
}

/* When the trial that runs will be over; NULL where none does. */
static json_t *shape_reverts_at(const struct agent *agent, const struct moment *now)
{
	uint64_t left_usec = mode_trial_left_usec(agent, now->boot_usec);

	return left_usec > 0 ? shape_time((int64_t)((now->wall_usec + left_usec) / USEC_PER_SEC))
			     : NULL;
}

static int call_status(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct agent *agent = userdata;
	const struct moment now = moment_now();
	_cleanup_(freep) char *config_path = realpath(agent->config_path, NULL);
	struct counts counts = {};
	bool installed;
	uint64_t n_refused;
	json_t *status, *feed;
	int error;

	(void)parameters;
	if (!may_read(userdata, call))
		return not_permitted(call);
	error = gate_status(agent->gate, &installed, &n_refused);
	if (error < 0)
		return failed(call, error, "can't read the gate");
	(void)registry_foreach(agent->registry, count_grant, &counts);
	status = json_pack(
		"{s:s, s:s, s:s, s:{s:b, s:b, s:b}, s:o, s:{s:I, s:I}, s:I, s:o, s:o, s:s, s:s, "
		"s:o*, s:s*}",
		"version", JITGATE_VERSION, "vmId", agent->config->vm_id, "mode",
		config_mode_name(mode_in_force(agent, now.boot_usec)), "gate", "installed",
		installed, "owned", agent->gate_owned, "destinationNat", agent->destination_nat,
		"ports", shape_managed_ports(&agent->policies), "grants", "active", counts.active,
		"scheduled", counts.scheduled, "refusedPackets", (json_int_t)n_refused,
		"trustedKeys", shape_trusted_keys(agent->trust), "startedAt",
		shape_time((int64_t)(agent->started_usec / USEC_PER_SEC)), "auditFile",
		audit_path(agent->audit), "configFile",
		config_path ? config_path : agent->config_path, "revertsAt",
		shape_reverts_at(agent, &now), "configurationError", agent->config_error);
	feed = feed_report_to_json(agent->feed, agent->config->feed.shown_url);
	if (feed)
		json_object_set_new(status, "feed", feed);
	if (agent->unread_usec > 0)
		json_object_set_new(
			status, "ledgerError", json_string(strerror(-agent->unread_error)));
	if (agent_clock_is_behind(agent, &now))
		json_object_set_new(status, "clockBehindUntil",
			shape_time((int64_t)(agent->latest_usec / USEC_PER_SEC)));
	return varlink_call_reply(call, status);
}

struct listing {
	json_t *list;
	bool all;
	struct moment now;
};

static int list_grant(struct registry_entry *entry, void *userdata)
{
	struct listing *listing = userdata;

	if (!entry->grant || (!listing->all && !grant_is_live(entry->grant)))
		return 0;
	return json_array_append_new(listing->list, shape_grant(entry->grant, &listing->now));
}

static int call_list_grants(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct agent *agent = userdata;
	const json_t *all = json_object_get(parameters, "all");
	struct listing listing = { json_array(), json_is_true(all), moment_now() };

	if (!may_read(userdata, call) || (all && !json_is_boolean(all) && !json_is_null(all))) {
		json_decref(listing.list);
		return may_read(userdata, call) ? varlink_call_invalid_parameter(call, "all")
						: not_permitted(call);
	}
	(void)registry_foreach(agent->registry, list_grant, &listing);
	return reply_list(call, json_pack("{s:o}", "grants", listing.list),
		"the grants are more than an answer holds");
}

static int list_session(const struct session *session, void *userdata)
{
	return json_array_append_new(userdata, shape_session(session));
}

static int call_list_sessions(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct agent *agent = userdata;
	json_t *list;

	(void)parameters;
	if (!may_read(userdata, call))
		return not_permitted(call);
	list = json_array();
	(void)sessions_foreach(agent->sessions, list_session, list);
	return reply_list(call, json_pack("{s:o}", "sessions", list),
		"the sessions are more than an answer holds");
}

static int call_list_denied(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct agent *agent = userdata;
	_cleanup_(element_list_done) struct element_list elements = {};
	json_t *list;
	int status;

	(void)parameters;
	if (!may_read(userdata, call))
		return not_permitted(call);
	status = gate_read_denied(agent->gate, &elements);
	if (status < 0)
		return failed(call, status, "can't read who was refused");
	list = json_array();
	for (size_t i = 0; i < elements.n; i++)
		json_array_append_new(list, shape_denied(&elements.elements[i]));
	return varlink_call_reply(call, json_pack("{s:o}", "denied", list));
}

static json_t *explanation(
	const char *verdict, const char *reason, const struct grant *grant, bool would_refuse)
{
	json_t *reply = json_pack("{s:s, s:s, s:b}", "verdict", verdict, "reason", reason,
		"wouldRefuse", would_refuse);

	if (reply && grant) {
		json_object_set_new(reply, "grant", json_string(grant->document->id));
		json_object_set_new(reply, "expires", shape_time(grant->document->expires));
	}
	return reply;
}

static json_t *explain(
	const struct agent *agent, const struct prefix *source, uint16_t port, unsigned protocol)
{
	const struct service service = { source->family,
		protocol == PROTOCOL_TCP ? IPPROTO_TCP : IPPROTO_UDP, port };
	const struct access *access;
	const struct config_port *section;
	const struct grant *grant = NULL;
	uint64_t now_usec = clock_boottime_usec();
	bool audit = mode_in_force(agent, now_usec) == MODE_AUDIT;
	bool on_trial = mode_trial_left_usec(agent, now_usec) > 0;
	char reason[384];

	if (!policies_manage(&agent->policies, port, protocol)) {
		snprintf(reason, sizeof(reason),
			"port %u/%s is not managed: jitgate lets every packet to it pass", port,
			protocol_format(protocol));
		return explanation("unmanaged", reason, NULL, false);
	}
	if (address_is_loopback(source->family, &source->address))
		return explanation(
			"allowed", "jitgate lets all pass that comes by loopback", NULL, false);
	section = policies_find_always_allow(
		&agent->policies, source->family, &source->address, port, protocol);
	if (section) {
		snprintf(reason, sizeof(reason), "always_allow of [port %s] has this source",
			section->name);
		return explanation("allowed", reason, NULL, false);
	}
	access = access_map_find(agent->access, &service, &source->address);
	if (access && access->deadline_usec > now_usec)
		grant = registry_grant_by_tag(agent->registry, access->tag);
	if (grant) {
		text_fill(reason, sizeof(reason), "the grant %s for %s lets it in",
			grant->document->id, grant->document->subject);
		return explanation("allowed", reason, grant, false);
	}
	snprintf(reason, sizeof(reason), "port %u/%s is managed, and no grant covers this source%s",
		port, protocol_format(protocol),
		audit              ? "; mode = audit lets it pass and counts it"
			: on_trial ? "; that is enforced on trial, until someone confirms or the "
				     "time is over"
				   : "");
	return explanation(audit ? "allowed" : "refused", reason, NULL, true);
}

static int call_explain(struct varlink_call *call, json_t *parameters, void *userdata)
{
	const char *source = json_string_value(json_object_get(parameters, "source"));
	const char *protocol = json_string_value(json_object_get(parameters, "protocol"));
	json_int_t port = json_integer_value(json_object_get(parameters, "port"));
	struct prefix prefix;
	unsigned protocols;

	if (!may_read(userdata, call))
		return not_permitted(call);
	if (!source || prefix_parse(source, &prefix) < 0 ||
		(prefix.family == AF_INET && prefix.length != 32) ||
		(prefix.family == AF_INET6 && prefix.length != 128) || prefix.family == AF_UNSPEC)
		return varlink_call_invalid_parameter(call, "source");
	if (port < 1 || port > UINT16_MAX)
		return varlink_call_invalid_parameter(call, "port");
	if (!protocol || protocol_parse(protocol, &protocols) < 0 || protocols == PROTOCOL_ANY)
		return varlink_call_invalid_parameter(call, "protocol");
	return varlink_call_reply(call, explain(userdata, &prefix, (uint16_t)port, protocols));
}

static bool reason_is_valid(const char *reason)
{
	return reason && reason[0] != '\0' && strlen(reason) <= REASON_BYTES_MAX &&
		text_is_printable(reason);
}

static int call_revoke(struct varlink_call *call, json_t *parameters, void *userdata)
{
	const char *id = json_string_value(json_object_get(parameters, "id"));
	const char *reason = json_string_value(json_object_get(parameters, "reason"));
	const json_t *sessions = json_object_get(parameters, "sessions");
	bool kill = json_is_string(sessions) && strcmp(json_string_value(sessions), "kill") == 0;
	bool keep = !sessions || json_is_null(sessions) ||
		(json_is_string(sessions) && strcmp(json_string_value(sessions), "keep") == 0);
	size_t n_killed = 0;
	int status;

	if (!caller_may_change(call))
		return not_permitted(call);
	if (!id || !document_id_is_valid(id))
		return varlink_call_invalid_parameter(call, "id");
	if (!kill && !keep)
		return varlink_call_invalid_parameter(call, "sessions");
	if (!reason_is_valid(reason))
		return varlink_call_invalid_parameter(call, "reason");
	status = submit_local_revocation(userdata, id, kill, reason, &n_killed);
	if (status == -ENOENT)
		return varlink_call_error(
			call, INTERFACE ".NoSuchGrant", json_pack("{s:s}", "id", id));
	if (status < 0)
		return failed(call, status, "the revocation could not be carried out");
	return varlink_call_reply(call, json_pack("{s:I}", "sessionsEnded", (json_int_t)n_killed));
}

static int call_grant(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct agent *agent = userdata;
	const json_t *ports = json_object_get(parameters, "ports");
	json_int_t seconds = json_integer_value(json_object_get(parameters, "seconds"));
	const char *reason = json_string_value(json_object_get(parameters, "reason"));
	const struct registry_entry *entry;
	struct submission submission;
	struct refusal refusal = {};
	char subject[128];
	int status;

	if (!caller_may_change(call))
		return not_permitted(call);
	if (!json_is_array(ports))
		return varlink_call_invalid_parameter(call, "ports");
	if (seconds < 1 || seconds > DURATION_SECONDS_MAX)
		return varlink_call_invalid_parameter(call, "seconds");
	if (!reason_is_valid(reason))
		return varlink_call_invalid_parameter(call, "reason");
	caller_name(call, subject, sizeof(subject));
	status = submit_local_grant(agent, ports, seconds, subject, reason, &submission, &refusal);
	if (status == REFUSED)
		return refused(call, &refusal);
	if (status < 0)
		return failed(call, status, "the grant could not be carried out");
	entry = registry_find(agent->registry, submission.id);
	return varlink_call_reply(call,
		json_pack("{s:s, s:o, s:b}", "id", submission.id, "expires",
			shape_time(entry->grant->document->expires), "durable",
			submission.durable));
}

static int call_reload(struct varlink_call *call, json_t *parameters, void *userdata)
{
	_cleanup_(freep) char *error = NULL;

	(void)parameters;
	if (!caller_may_change(call))
		return not_permitted(call);
	if (agent_reload(userdata, &error) < 0)
		return varlink_call_error(call, INTERFACE ".ReloadFailed",
			json_pack("{s:s}", "message", error ? error : "out of memory"));
	return varlink_call_reply(call, json_object());
}

static int call_enforce(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct agent *agent = userdata;
	const json_t *within = json_object_get(parameters, "confirmWithinSeconds");
	json_int_t seconds = json_integer_value(within);
	struct moment now;
	char who[TRIAL_NAME_MAX];
	bool changed;
	int status;

	if (!caller_may_change(call))
		return not_permitted(call);
	if (within && !json_is_null(within) &&
		(!json_is_integer(within) || seconds < TRIAL_SECONDS_MIN ||
			seconds > TRIAL_SECONDS_MAX))
		return varlink_call_invalid_parameter(call, "confirmWithinSeconds");
	caller_name(call, who, sizeof(who));
	status = mode_enforce(agent, seconds, who, &changed);
	if (status < 0)
		return failed(call, status, "the mode could not be changed");
	now = moment_now();
	return varlink_call_reply(call,
		json_pack("{s:b, s:o*}", "changed", changed, "revertsAt",
			shape_reverts_at(agent, &now)));
}

static int call_confirm(struct varlink_call *call, json_t *parameters, void *userdata)
{
	char who[TRIAL_NAME_MAX];
	int status;

	(void)parameters;
	if (!caller_may_change(call))
		return not_permitted(call);
	caller_name(call, who, sizeof(who));
	status = mode_confirm(userdata, who);
	if (status == -ENOENT)
		return varlink_call_error(call, INTERFACE ".NothingToConfirm", NULL);
	if (status < 0)
		return failed(call, status, "the trial could not be confirmed");
	return varlink_call_reply(call, json_object());
}

/* Those who have left are let go when someone comes. */
static void subscribers_prune(struct agent *agent)
{
	size_t n = 0;

	for (size_t i = 0; i < agent->n_subscribers; i++) {
		if (varlink_call_is_open(agent->subscribers[i]))
			agent->subscribers[n++] = agent->subscribers[i];
		else
			varlink_call_unref(agent->subscribers[i]);
	}
	agent->n_subscribers = n;
}

static int call_monitor(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct agent *agent = userdata;

	(void)parameters;
	if (!may_read(userdata, call))
		return not_permitted(call);
	if (!varlink_call_wants_more(call))
		return varlink_call_invalid_parameter(call, "more");
	subscribers_prune(agent);
	/* One for each connection at most, and whose they are the server sees to. */
	if (!agent->subscribers)
		agent->subscribers = calloc(VARLINK_CONNECTIONS_MAX, sizeof(struct varlink_call *));
	if (!agent->subscribers)
		return -ENOMEM;
	agent->subscribers[agent->n_subscribers++] = varlink_call_ref(call);
	return varlink_call_notify(call, json_object());
}

/* An optional number that is not negative. */
static bool read_number(const json_t *parameters, const char *key, json_int_t *ret)
{
	const json_t *value = json_object_get(parameters, key);

	if (!value || json_is_null(value))
		return true;
	*ret = json_integer_value(value);
	return json_is_integer(value) && *ret >= 0;
}

static int call_list_events(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct agent *agent = userdata;
	json_int_t after = 0, limit = EVENTS_MAX;
	json_t *list;
	int status;

	if (!may_read(agent, call))
		return not_permitted(call);
	if (!read_number(parameters, "after", &after))
		return varlink_call_invalid_parameter(call, "after");
	if (!read_number(parameters, "limit", &limit) || limit < 1)
		return varlink_call_invalid_parameter(call, "limit");
	list = json_array();
	status = audit_list(agent->audit, (uint64_t)after,
		limit < EVENTS_MAX ? (size_t)limit : EVENTS_MAX, EVENTS_BYTES_MAX, list);
	if (status < 0) {
		json_decref(list);
		return failed(call, status, "can't read the audit log");
	}
	return varlink_call_reply(call,
		json_pack("{s:o, s:I}", "events", list, "newest",
			(json_int_t)audit_newest(agent->audit)));
}

static int call_report_feed(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct agent *agent = userdata;
	const char *wrong;
	int status;

	if (!caller_may_report_feed(&agent->callers, call))
		return not_permitted(call);
	status = feed_report_read(parameters, varlink_call_pid(call), &agent->feed, &wrong);
	if (status == -EINVAL)
		return varlink_call_invalid_parameter(call, wrong);
	return status < 0 ? status : varlink_call_reply(call, json_object());
}

void service_publish(struct agent *agent, json_t *record)
{
	for (size_t i = 0; i < agent->n_subscribers; i++)
		if (varlink_call_is_open(agent->subscribers[i]))
			(void)varlink_call_notify(
				agent->subscribers[i], json_pack("{s:O}", "event", record));
}

static const struct varlink_method methods[] = {
	{ INTERFACE ".Submit", call_submit },
	{ INTERFACE ".Status", call_status },
	{ INTERFACE ".ListGrants", call_list_grants },
	{ INTERFACE ".ListSessions", call_list_sessions },
	{ INTERFACE ".ListDenied", call_list_denied },
	{ INTERFACE ".Explain", call_explain },
	{ INTERFACE ".Revoke", call_revoke },
	{ INTERFACE ".Grant", call_grant },
	{ INTERFACE ".Reload", call_reload },
	{ INTERFACE ".Enforce", call_enforce },
	{ INTERFACE ".Confirm", call_confirm },
	{ INTERFACE ".Monitor", call_monitor },
	{ INTERFACE ".ListEvents", call_list_events },
	{ INTERFACE ".ReportFeed", call_report_feed },
	{ NULL, NULL },
};

static const struct varlink_service service = {
	.vendor = "jitgate",
	.product = "jitgated",
	.version = JITGATE_VERSION,
	.url = "https://jitgate.io/",
	.interface = INTERFACE,
	.description = agent_interface,
	.methods = methods,
};

static int listen_on(const char *path, int *ret_fd)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat stat;

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	/* Left by a daemon that was killed. Whether one still runs, the ledger's lock has told. */
	if (lstat(path, &stat) == 0 && S_ISSOCK(stat.st_mode) && unlink(path) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	/* Anyone may submit: documents are signed. What else one may do is asked at each call. */
	if (chmod(path, 0666) < 0 || listen(fd, SOCKET_BACKLOG) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int service_start(struct agent *agent)
{
	_cleanup_(closep) int fd = -1;
	int status = listen_on(agent->config->socket, &fd);

	if (status == 0)
		status = varlink_server_new(agent->event, fd, &service, agent, &agent->server);
	if (status == 0)
		(void)TAKE_FD(fd);
	return status;
}

void service_stop(struct agent *agent)
{
	for (size_t i = 0; i < agent->n_subscribers; i++)
		varlink_call_unref(agent->subscribers[i]);
	free(agent->subscribers);
	agent->subscribers = NULL;
	agent->n_subscribers = 0;
	if (agent->server)
		(void)unlink(agent->config->socket);
	agent->server = varlink_server_free(agent->server);
}
