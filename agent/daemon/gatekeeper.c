/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <syslog.h>

#include "agent/common/times.h"
#include "agent/daemon/gatekeeper.h"
#include "agent/daemon/mode.h"

/* iptables-legacy is no part of nf_tables and sends no events. It takes this lock whenever it runs.
 */
#define LEGACY_LOCK_DIRECTORY "/run"
#define LEGACY_LOCK "xtables.lock"

#define RETRY_USEC_MIN (100 * USEC_PER_MSEC)
#define RETRY_USEC_MAX (5 * USEC_PER_SEC)

/* Repairs that follow one another within this: others change the table without end. */
#define STORM_USEC (100 * USEC_PER_MSEC)

/* A gate that is not there comes before whatever else there is to do. */
#define WATCH_PRIORITY (2 * SD_EVENT_PRIORITY_IMPORTANT)

/* A ruleset and the lists it points into. */
struct wanted {
	struct ruleset ruleset;
	struct port_range_list tcp;
	struct port_range_list udp;
	struct element_list always_allow;
};

static void wanted_done(struct wanted *wanted)
{
	port_range_list_done(&wanted->tcp);
	port_range_list_done(&wanted->udp);
	element_list_done(&wanted->always_allow);
}

static void wanted_point(struct wanted *wanted)
{
	wanted->ruleset.tcp = wanted->tcp.ranges;
	wanted->ruleset.n_tcp = wanted->tcp.n;
	wanted->ruleset.udp = wanted->udp.ranges;
	wanted->ruleset.n_udp = wanted->udp.n;
	wanted->ruleset.always_allow = wanted->always_allow.elements;
	wanted->ruleset.n_always_allow = wanted->always_allow.n;
}

static int wanted_init(struct wanted *wanted, const struct agent *agent)
{
	uint64_t now_usec = clock_boottime_usec();
	uint64_t trial_usec = mode_trial_left_usec(agent, now_usec);
	int status;

	memset(wanted, 0, sizeof(*wanted));
	status = policies_ports(&agent->policies, PROTOCOL_TCP, &wanted->tcp);
	if (status == 0)
		status = policies_ports(&agent->policies, PROTOCOL_UDP, &wanted->udp);
	if (status == 0)
		status = policies_always_allow(&agent->policies, &wanted->always_allow);
	wanted->ruleset.audit = mode_in_force(agent, now_usec) == MODE_AUDIT;
	/* Rounded up; and never 0, which would be for good. */
	wanted->ruleset.trial_ms = trial_usec > 0 ? trial_usec / USEC_PER_MSEC + 1 : 0;
	wanted->ruleset.destination_nat = agent->destination_nat;
	wanted->ruleset.forwarding = agent->forwards;
	wanted->ruleset.vrfs = &agent->vrfs;
	wanted->ruleset.owned = true;
	wanted_point(wanted);
	return status;
}

static void element_from_access(const struct agent *agent, const struct access *access,
	uint64_t now_usec, struct element *ret)
{
	const struct grant *grant = registry_grant_by_tag(agent->registry, access->tag);
	uint64_t left_usec =
		access->deadline_usec > now_usec ? access->deadline_usec - now_usec : 0;

	memset(ret, 0, sizeof(*ret));
	ret->sources.family = access->service.family;
	ret->sources.first = access->first;
	ret->sources.last = access->last;
	ret->l4proto = access->service.l4proto;
	ret->ports = (struct port_range){ access->service.port, access->service.port };
	/* Rounded up; and never 0, which would be for good. */
	ret->timeout_ms = left_usec / USEC_PER_MSEC + 1;
	if (grant)
		snprintf(ret->comment, sizeof(ret->comment), "%s", grant->document->id);
}

struct collection {
	const struct agent *agent;
	struct element_list *list;
	uint64_t now_usec;
};

static int collect_entry(const struct access *entry, void *userdata)
{
	struct collection *collection = userdata;

	element_from_access(collection->agent, entry, collection->now_usec,
		&collection->list->elements[collection->list->n++]);
	return 0;
}

static int wanted_grants(struct agent *agent, struct element_list *ret)
{
	struct collection collection = { agent, ret, clock_boottime_usec() };

	(void)access_map_expire(agent->access, collection.now_usec);
	memset(ret, 0, sizeof(*ret));
	ret->elements = calloc(access_map_count(agent->access) + 1, sizeof(*ret->elements));
	if (!ret->elements)
		return -ENOMEM;
	return access_map_foreach(agent->access, collect_entry, &collection);
}

/* What the rules depend on besides the configuration. */
static int look_at_host(struct agent *agent)
{
	int status = vrfs_read(&agent->vrfs);

	if (status < 0)
		return status;
	agent->forwards = forwarding_is_on();
	switch (agent->config->destination_nat) {
	case DESTINATION_NAT_YES:
		agent->destination_nat = true;
		return 0;
	case DESTINATION_NAT_NO:
		agent->destination_nat = false;
		return 0;
	case DESTINATION_NAT_AUTO:
		break;
	}
	return gate_find_destination_nat(agent->gate, &agent->destination_nat);
}

static int report_failure(int status, const char *what)
{
	if (status < 0)
		log_line(LOG_ERR, "can't install the gate (%s): %s", what, strerror(-status));
	return status;
}

struct udp_collection {
	const struct agent *agent;
	struct flow_list flows;
	int status;
};

static void collect_udp(const struct flow *flow, void *userdata)
{
	struct udp_collection *collection = userdata;

	if (collection->status == 0 &&
		policies_manage(&collection->agent->policies, flow->local_port, PROTOCOL_UDP))
		collection->status = flow_list_add(&collection->flows, flow);
}

/* Where the gate was not there a moment ago, or refused nothing: UDP sessions that have a socket of
 * their own are older than its refusing, and go on like TCP's. Returns 0; -ENOMEM: to be done
 * again. */
static int keep_udp_sessions(struct agent *agent)
{
	struct udp_collection collection = { .agent = agent };
	int status = sockets_foreach_udp(agent->sockets, collect_udp, &collection);

	if (status == 0)
		status = collection.status;
	if (status == 0)
		status = gate_add_flows(agent->gate, &collection.flows);
	flow_list_done(&collection.flows);
	agent->udp_to_keep = status == -ENOMEM;
	return agent->udp_to_keep ? status : 0;
}

int gatekeeper_begin(struct agent *agent)
{
	_cleanup_(wanted_done) struct wanted wanted = {};
	const char *what = "managed ports";
	int status;

	status = look_at_host(agent);
	if (status == 0)
		status = wanted_init(&wanted, agent);
	if (status == 0)
		status = gate_read_ports(agent->gate, &wanted.tcp, &wanted.udp);
	if (status < 0)
		return report_failure(status, what);
	port_ranges_merge(&wanted.tcp);
	port_ranges_merge(&wanted.udp);
	wanted_point(&wanted);
	status = gate_install(
		agent->gate, &wanted.ruleset, NULL, &agent->gate_found, &agent->gate_owned, &what);
	/* What there is no memory for now, the next installation does. */
	if (status == 0 && agent->gate_found == GATE_WAS_ABSENT)
		(void)keep_udp_sessions(agent);
	agent->gate_audits = wanted.ruleset.audit;
	return status == -EPERM ? status : report_failure(status, what);
}

static int install(struct agent *agent)
{
	_cleanup_(wanted_done) struct wanted wanted = {};
	_cleanup_(element_list_done) struct element_list grants = {};
	enum gate_install found;
	const char *what = "preparing";
	int status;

	status = look_at_host(agent);
	if (status == 0)
		status = wanted_init(&wanted, agent);
	if (status == 0)
		status = wanted_grants(agent, &grants);
	/* Before it refuses; a second time after, where this fails. */
	if (status == 0 && agent->gate_audits && !wanted.ruleset.audit)
		(void)keep_udp_sessions(agent);
	if (status == 0)
		status = gate_install(
			agent->gate, &wanted.ruleset, &grants, &found, &agent->gate_owned, &what);
	if (status < 0)
		return report_failure(status, what);
	agent->gate_audits = wanted.ruleset.audit;
	status = sockets_watch(agent->sockets, wanted.tcp.ranges, wanted.tcp.n);
	if (found == GATE_WAS_ABSENT || agent->udp_to_keep) {
		int kept = keep_udp_sessions(agent);

		if (status == 0)
			status = kept;
	}
	return status;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	(void)gatekeeper_install(userdata);
	return 0;
}

/* What could not be done now (others change nf_tables without end, no memory) is done as soon as it
 * can be. */
static void retry_later(struct agent *agent)
{
	agent->retry_usec = agent->retry_usec == 0 ? RETRY_USEC_MIN : 2 * agent->retry_usec;
	if (agent->retry_usec > RETRY_USEC_MAX)
		agent->retry_usec = RETRY_USEC_MAX;
	(void)sd_event_source_set_time(
		agent->retry_source, clock_boottime_usec() + agent->retry_usec);
	(void)sd_event_source_set_enabled(agent->retry_source, SD_EVENT_ONESHOT);
}

int gatekeeper_install(struct agent *agent)
{
	int status = install(agent);

	if (status < 0) {
		retry_later(agent);
		return status;
	}
	agent->retry_usec = 0;
	(void)sd_event_source_set_enabled(agent->retry_source, SD_EVENT_OFF);
	return 0;
}

int gatekeeper_catch_up(struct agent *agent)
{
	return agent->retry_usec > 0 ? gatekeeper_install(agent) : 0;
}

static int elements_from_delta(const struct agent *agent, const struct access *accesses, size_t n,
	uint64_t now_usec, struct element **ret)
{
	struct element *elements = calloc(n + 1, sizeof(*elements));

	if (!elements)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		element_from_access(agent, &accesses[i], now_usec, &elements[i]);
	*ret = elements;
	return 0;
}

int gatekeeper_apply(struct agent *agent, const struct access_delta *delta)
{
	_cleanup_(freep) struct element *removed = NULL, *added = NULL;
	uint64_t now_usec = clock_boottime_usec();
	const char *what;
	int status;

	status = elements_from_delta(agent, delta->removed, delta->n_removed, now_usec, &removed);
	if (status == 0)
		status = elements_from_delta(agent, delta->added, delta->n_added, now_usec, &added);
	if (status == 0)
		status = gate_change(
			agent->gate, removed, delta->n_removed, added, delta->n_added, &what);
	/* An element may have run out a moment before, or someone may have changed the table. */
	return status < 0 ? gatekeeper_install(agent) : 0;
}

static void audit_repair(struct agent *agent, const struct watch_report *report, uint64_t usec)
{
	char message[256], who[96] = "another program";

	if (report->pid)
		snprintf(who, sizeof(who), "%s (process %d)", report->process, (int)report->pid);
	snprintf(message, sizeof(message),
		"%s changed table inet jitgate; it was put back in %.1f ms", who, usec / 1000.0);
	audit_write(agent->audit,
		&(struct audit_record){
			.type = AUDIT_GATE_REPAIRED,
			.message = message,
			.details = json_pack("{s:s*, s:I, s:I}", "process",
				report->pid ? report->process : NULL, "pid",
				(json_int_t)report->pid, "repairUsec", (json_int_t)usec),
		});
}

/* In a storm, repairing takes turns with everything else: who asks must be answered, and the gate
 * would not stand any longer. */
static void repair(struct agent *agent, struct watch_report *report)
{
	uint64_t from_usec = clock_boottime_usec();
	bool storm = from_usec - agent->repaired_usec < STORM_USEC;
	bool overrun = report->overrun;

	if (gatekeeper_install(agent) == 0) {
		uint64_t usec = clock_boottime_usec() - from_usec;

		if (watch_read_name(agent->watch, report) < 0 || (report->overrun && !overrun))
			retry_later(agent); /* anything may have changed since */
		audit_repair(agent, report, usec);
	}
	agent->repaired_usec = clock_boottime_usec();
	(void)sd_event_source_set_priority(
		agent->watch_source, storm ? SD_EVENT_PRIORITY_NORMAL : WATCH_PRIORITY);
}

static void audit_destination_nat(struct agent *agent)
{
	char message[128];

	snprintf(message, sizeof(message), "Destination NAT has %s: the gate follows",
		agent->destination_nat ? "come" : "gone");
	audit_write(agent->audit,
		&(struct audit_record){
			.type = AUDIT_GATE_INSTALLED,
			.message = message,
			.details = json_pack("{s:b}", "destinationNat", agent->destination_nat),
		});
}

static void follow_host(struct agent *agent)
{
	bool translated = agent->destination_nat, forwarded = agent->forwards;
	struct vrfs vrfs = agent->vrfs;

	if (look_at_host(agent) < 0) {
		retry_later(agent); /* which looks again */
		return;
	}
	if (agent->destination_nat == translated && agent->forwards == forwarded &&
		vrfs_are_same(&agent->vrfs, &vrfs))
		return;
	if (gatekeeper_install(agent) == 0 && agent->destination_nat != translated)
		audit_destination_nat(agent);
}

static int on_forwarding(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct agent *agent = userdata;

	(void)source, (void)fd, (void)events;
	forwarding_drain(agent->forwarding);
	follow_host(agent);
	return 0;
}

static int on_watch(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct agent *agent = userdata;
	struct watch_report report;
	int status;

	(void)source, (void)fd, (void)events;
	status = watch_read(agent->watch, &report);
	if (status < 0) {
		log_line(LOG_ERR, "can't read what others change: %s", strerror(-status));
		report.overrun = true; /* anything may have changed */
	}
	if (report.gate || report.overrun)
		repair(agent, &report);
	else if (report.chains)
		follow_host(agent);
	return 0;
}

static int on_legacy_lock(
	sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	(void)source;
	if (event->len > 0 && strcmp(event->name, LEGACY_LOCK) == 0)
		follow_host(userdata);
	return 0;
}

int gatekeeper_watch(struct agent *agent)
{
	int status;

	/* Made ahead: what is tried again may have failed for want of memory. */
	status = sd_event_add_time(agent->event, &agent->retry_source, CLOCK_BOOTTIME, UINT64_MAX,
		USEC_PER_MSEC, on_retry, agent);
	if (status >= 0)
		status = sd_event_source_set_enabled(agent->retry_source, SD_EVENT_OFF);
	if (status >= 0)
		status = watch_open(gate_port(agent->gate), &agent->watch);
	if (status == 0)
		status = sd_event_add_io(agent->event, &agent->watch_source, watch_fd(agent->watch),
			EPOLLIN, on_watch, agent);
	if (status >= 0)
		status = sd_event_source_set_priority(agent->watch_source, WATCH_PRIORITY);
	if (status >= 0)
		status = forwarding_open(&agent->forwarding);
	if (status >= 0)
		status = sd_event_add_io(agent->event, &agent->forwarding_source,
			forwarding_fd(agent->forwarding), EPOLLIN, on_forwarding, agent);
	if (status < 0)
		return status;
	status = sd_event_add_inotify(agent->event, &agent->legacy_source, LEGACY_LOCK_DIRECTORY,
		IN_CLOSE_WRITE | IN_CLOSE_NOWRITE | IN_ONLYDIR, on_legacy_lock, agent);
	if (status < 0)
		log_line(LOG_WARNING,
			"can't watch %s: %s; destination NAT by iptables-legacy is "
			"noticed at the next reload only",
			LEGACY_LOCK_DIRECTORY, strerror(-status));
	return 0;
}
