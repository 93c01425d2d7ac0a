/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <syslog.h>

#include "agent/common/text.h"
#include "agent/common/times.h"
#include "agent/daemon/record.h"
#include "agent/daemon/sessions.h"

/* When a connection's handshake should be done: it is looked for after these, then given up. */
static const uint64_t checks_usec[] = { 100000, 1 * USEC_PER_SEC, 5 * USEC_PER_SEC,
	30 * USEC_PER_SEC, 90 * USEC_PER_SEC };

/* No one tells when a UDP flow has run out, or when a connection that only passes through has
 * ended: while there are such sessions, they are looked for this often. */
#define SWEEP_USEC (60 * USEC_PER_SEC)

/* The rules tell of a new session each so often, and of some at once besides (nft/rules.c): those
 * told, less as many as that time allows, are what is missing in their bucket. It must not come
 * near its bottom: then there may have been more. */
#define TOLD_USEC (USEC_PER_SEC / 200)
#define TOLD_AT_ONCE_MAX 100
#define CATCH_UP_USEC (2 * USEC_PER_SEC)
#define TIMER_ACCURACY_USEC (50 * USEC_PER_MSEC)

struct sessions {
	struct agent *agent;
	struct session_table table;
	sd_event_source *sweep;
	sd_event_source *catch_up;
	size_t n_told; /* less as many as the time up to told_usec allows */
	uint64_t told_usec;
};

int sessions_new(struct agent *agent, struct sessions **ret)
{
	struct sessions *sessions = calloc(1, sizeof(*sessions));

	if (!sessions)
		return -ENOMEM;
	sessions->agent = agent;
	*ret = sessions;
	return 0;
}

struct sessions *sessions_free(struct sessions *sessions)
{
	if (!sessions)
		return NULL;
	sd_event_source_disable_unref(sessions->sweep);
	sd_event_source_disable_unref(sessions->catch_up);
	session_table_done(&sessions->table);
	free(sessions);
	return NULL;
}

static const char *l4proto_name(uint8_t l4proto)
{
	return l4proto == IPPROTO_TCP ? "TCP" : "UDP";
}

static void session_audit(struct sessions *sessions, const struct session *session,
	enum audit_type type, const char *reason)
{
	char source[PREFIX_STRING_MAX], message[512];
	const char *subject = session->subject ? session->subject : "someone";

	address_format(session->flow.family, &session->flow.remote, source);
	text_fill(message, sizeof(message), "%s's session from %s port %u to port %u/%s %s",
		subject, source, session->flow.remote_port, session->flow.local_port,
		l4proto_name(session->flow.l4proto),
		type == AUDIT_SESSION_OPENED ? "opened" : "ended");
	audit_write(sessions->agent->audit,
		&(struct audit_record){
			.type = type,
			.message = message,
			.grant = session->grant,
			.subject = session->subject,
			.source = source,
			.port = session->flow.local_port,
			.protocol = l4proto_name(session->flow.l4proto),
			.reason = reason,
			.details = json_pack("{s:i}", "sourcePort", session->flow.remote_port),
		});
}

static void session_record(struct sessions *sessions, const struct session *session)
{
	record_keep_runtime(sessions->agent,
		record_session(&session->flow, session->grant, session->subject,
			session->since_usec, session->open));
}

/* Told first: rather twice, over a daemon that is killed in between, than not at all. */
static void session_open(struct sessions *sessions, struct session *session)
{
	session->open = true;
	session_audit(sessions, session, AUDIT_SESSION_OPENED, NULL);
	session_record(sessions, session);
}

/* Takes a session out; the kernel's sets forget it too. */
static void session_end(struct sessions *sessions, struct session *session, const char *reason)
{
	if (session->open)
		session_audit(sessions, session, AUDIT_SESSION_ENDED, reason);
	(void)gate_forget_sessions(sessions->agent->gate, &session->flow, 1);
	record_keep_runtime(sessions->agent, record_session_ended(&session->flow));
	session_table_drop(&sessions->table, session);
}

/* Where the connection ends on this host; what passes through it has no socket here. */
static int session_translate(struct sessions *sessions, struct session *session)
{
	struct agent *agent = sessions->agent;
	struct flow translated;
	int status;

	if (!agent->destination_nat || !agent->tracking)
		return 0;
	status = tracking_find(agent->tracking, &session->flow, &translated);
	if (status <= 0 || flows_compare(&translated, &session->translated) == 0)
		return status;
	session_table_translate(&sessions->table, session, &translated);
	return 1;
}

/* 1: established. 0: not (any more). -EAGAIN: the handshake is on its way. */
static int session_is_alive(struct sessions *sessions, struct session *session)
{
	struct agent *agent = sessions->agent;
	int tracked = session_translate(sessions, session), state;

	state = sockets_find(agent->sockets, &session->translated);
	if (state == TCP_SYN_RECV)
		return -EAGAIN;
	if (state > 0) {
		/* A redirect may have brought it to a port that is not managed. */
		session->unheard =
			sockets_watch_also(agent->sockets, session->translated.local_port) < 0;
		return 1;
	}
	/* What can't be asked now is asked again by and by. */
	session->unheard = tracked == 1 || state < 0 || tracked < 0;
	return tracked == 1 || (session->unheard && session->open);
}

static int on_session_timer(sd_event_source *source, uint64_t usec, void *userdata);
static int sessions_arm_sweep(struct sessions *sessions);

static int session_set_timer(struct session *session, uint64_t usec)
{
	struct agent *agent = session->sessions->agent;
	int status;

	if (session->timer) {
		status = sd_event_source_set_time_relative(session->timer, usec);
		return status < 0 ? status
				  : sd_event_source_set_enabled(session->timer, SD_EVENT_ONESHOT);
	}
	return sd_event_add_time_relative(agent->event, &session->timer, CLOCK_BOOTTIME, usec,
		TIMER_ACCURACY_USEC, on_session_timer, session);
}

/* A TCP session: is it there? */
static void session_check(struct sessions *sessions, struct session *session)
{
	int alive = session_is_alive(sessions, session);

	if (alive == 1 && !session->open)
		session_open(sessions, session);
	if (alive == 1 && session->unheard) {
		(void)session_set_timer(session, SWEEP_USEC);
		return;
	}
	if (alive == 1)
		return; /* its socket's end will be told */
	if (session->open || session->n_checks >= N_ELEMENTS(checks_usec))
		session_end(sessions, session, NULL);
	else
		(void)session_set_timer(session, checks_usec[session->n_checks++]);
}

static int on_session_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct session *session = userdata;

	(void)source, (void)usec;
	session_check(session->sessions, session);
	return 0;
}

static bool flows_include(const struct flow_list *list, const struct flow *flow)
{
	return list->n > 0 &&
		bsearch(flow, list->flows, list->n, sizeof(*list->flows), flows_compare) != NULL;
}

/* Ends the UDP sessions whose flow has run out: one reading for all of them. Returns how many go
 * on. */
static size_t sessions_sweep(struct sessions *sessions)
{
	_cleanup_(flow_list_done) struct flow_list list = {};
	size_t n_left = 0;

	if (gate_read_sessions(sessions->agent->gate, &list) < 0)
		return sessions->table.n;
	if (list.n > 0)
		qsort(list.flows, list.n, sizeof(*list.flows), flows_compare);
	for (struct session *session = session_table_list(&sessions->table), *next; session;
		session = next) {
		next = session->next;
		if (session->flow.l4proto != IPPROTO_UDP)
			continue;
		if (flows_include(&list, &session->flow))
			n_left++;
		else
			session_end(sessions, session, NULL);
	}
	return n_left;
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sessions *sessions = userdata;

	(void)source, (void)usec;
	if (sessions_sweep(sessions) == 0) {
		sessions->sweep = sd_event_source_disable_unref(sessions->sweep);
		return 0;
	}
	(void)sd_event_source_set_time_relative(sessions->sweep, SWEEP_USEC);
	(void)sd_event_source_set_enabled(sessions->sweep, SD_EVENT_ONESHOT);
	return 0;
}

static int sessions_arm_sweep(struct sessions *sessions)
{
	int status;

	if (sessions->sweep)
		return 0;
	status = sd_event_add_time_relative(sessions->agent->event, &sessions->sweep,
		CLOCK_BOOTTIME, SWEEP_USEC, USEC_PER_SEC, on_sweep, sessions);
	return status < 0 ? status : 0;
}

static int sessions_add(struct sessions *sessions, const struct flow *flow, const char *grant,
	const char *subject, uint64_t since_usec, struct session **ret)
{
	int status = session_table_add(&sessions->table, flow, grant, subject, since_usec, ret);

	if (status == 0)
		(*ret)->sessions = sessions;
	return status;
}

/* The grant that let it in: the one of those that cover it which lasts longest. */
static struct grant *flow_grant(
	struct sessions *sessions, const struct flow *flow, struct grant *just_closed)
{
	const struct service service = { flow->family, flow->l4proto, flow->local_port };
	const struct access *access =
		access_map_find(sessions->agent->access, &service, &flow->remote);
	unsigned protocol = flow->l4proto == IPPROTO_TCP ? PROTOCOL_TCP : PROTOCOL_UDP;

	if (just_closed &&
		grant_includes(
			just_closed, flow->family, &flow->remote, flow->local_port, protocol) &&
		(!access || access->deadline_usec < just_closed->deadline_usec))
		return just_closed;
	return access ? registry_grant_by_tag(sessions->agent->registry, access->tag) : NULL;
}

static struct session *sessions_take_up(
	struct sessions *sessions, const struct flow *flow, struct grant *grant)
{
	struct session *session;
	const char *id = grant ? grant->document->id : NULL;
	const char *subject = grant ? grant->document->subject : NULL;

	if (sessions_add(sessions, flow, id, subject, clock_realtime_usec(), &session) < 0)
		return NULL;
	if (grant)
		grant->n_connections++;
	return session;
}

static void session_begin(struct sessions *sessions, const struct flow *flow, struct grant *grant)
{
	struct session *session = sessions_take_up(sessions, flow, grant);

	if (!session)
		return;
	if (flow->l4proto == IPPROTO_TCP) {
		session_record(sessions, session);
		(void)session_set_timer(session, checks_usec[session->n_checks++]);
	} else {
		session_open(sessions, session);
		(void)sessions_arm_sweep(sessions);
	}
}

/* A first packet was let in. A repeated one is not news. */
static void on_new(const struct flow *flow, void *userdata)
{
	struct sessions *sessions = userdata;

	sessions->n_told++;
	if (!session_table_find(&sessions->table, flow))
		session_begin(sessions, flow, flow_grant(sessions, flow, NULL));
}

static void on_gone(const struct flow *flow, void *userdata)
{
	struct sessions *sessions = userdata;
	struct session *session = session_table_find_socket(&sessions->table, flow);

	if (!session) {
		/* Not told of, when many came at once; the kernel's set may still have it. */
		(void)gate_forget_sessions(sessions->agent->gate, flow, 1);
		return;
	}
	/* Over before it was looked for: it was there all the same. */
	if (!session->open)
		session_open(sessions, session);
	session_end(sessions, session, NULL);
}

int sessions_restore(struct sessions *sessions, const json_t *record)
{
	bool open = !json_is_false(json_object_get(record, "open"));
	struct session *session;
	struct flow flow;
	int status;

	if (record_read_flow(record, "ended", &flow)) {
		session = session_table_find(&sessions->table, &flow);
		if (session)
			session_table_drop(&sessions->table, session);
		return 0;
	}
	if (!record_read_flow(record, "session", &flow))
		return 0;
	session = session_table_find(&sessions->table, &flow);
	if (session) {
		session->open = session->open || open;
		return 0;
	}
	status = sessions_add(sessions, &flow, json_string_value(json_object_get(record, "grant")),
		json_string_value(json_object_get(record, "subject")),
		json_integer_value(json_object_get(record, "at")), &session);
	if (status == 0)
		session->open = open;
	return status;
}

static int on_catch_up(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sessions *sessions = userdata;

	(void)source, (void)usec;
	sessions->catch_up = sd_event_source_disable_unref(sessions->catch_up);
	(void)sessions_update(sessions, NULL);
	return 0;
}

/* Who floods the log's limit does not hide his sessions in it: the kernel's sets have them all. */
static void sessions_catch_up(struct sessions *sessions)
{
	if (!sessions->catch_up)
		(void)sd_event_add_time_relative(sessions->agent->event, &sessions->catch_up,
			CLOCK_BOOTTIME, CATCH_UP_USEC, USEC_PER_SEC, on_catch_up, sessions);
}

int sessions_update(struct sessions *sessions, struct grant *just_closed)
{
	_cleanup_(flow_list_done) struct flow_list list = {}, gone = {};
	struct agent *agent = sessions->agent;
	int status = gate_read_sessions(agent->gate, &list);

	if (status < 0) {
		sessions_catch_up(sessions);
		return status;
	}
	for (size_t i = 0; i < list.n; i++) {
		const struct flow *flow = &list.flows[i];
		struct grant *grant;
		bool alive;

		if (session_table_find(&sessions->table, flow))
			continue;
		grant = flow_grant(sessions, flow, just_closed);
		/* A UDP flow without a grant was begun by this host, or outlives its grant. */
		alive = flow->l4proto == IPPROTO_UDP || agent->destination_nat ||
			sockets_find(agent->sockets, flow) != 0;
		if (grant && alive)
			session_begin(sessions, flow, grant);
		else if (!alive)
			(void)flow_list_add(&gone, flow);
	}
	return gone.n > 0 ? gate_forget_sessions(agent->gate, gone.flows, gone.n) : 0;
}

size_t sessions_count(const struct sessions *sessions)
{
	return sessions->table.n;
}

static int on_nflog(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct sessions *sessions = userdata;
	uint64_t now_usec = clock_boottime_usec(), n_allowed;
	int status;

	(void)source, (void)fd, (void)events;
	n_allowed = (now_usec - sessions->told_usec) / TOLD_USEC;
	sessions->told_usec += n_allowed * TOLD_USEC;
	sessions->n_told -= n_allowed < sessions->n_told ? n_allowed : sessions->n_told;
	status = nflog_read(sessions->agent->nflog, on_new, sessions);
	if (status == -ENOBUFS || sessions->n_told >= TOLD_AT_ONCE_MAX)
		sessions_catch_up(sessions);
	return 0;
}

void sessions_check_all(struct sessions *sessions)
{
	for (struct session *session = session_table_list(&sessions->table), *next; session;
		session = next) {
		next = session->next;
		if (session->flow.l4proto == IPPROTO_TCP)
			session_check(sessions, session);
	}
	if (sessions_sweep(sessions) > 0)
		(void)sessions_arm_sweep(sessions);
}

static int on_sockets(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct sessions *sessions = userdata;

	(void)source, (void)fd, (void)events;
	if (sockets_watch_read(sessions->agent->sockets, on_gone, sessions) == -ENOBUFS)
		sessions_check_all(sessions);
	return 0;
}

int sessions_watch(struct sessions *sessions)
{
	struct agent *agent = sessions->agent;
	int status;

	status = sd_event_add_io(agent->event, &agent->sockets_source,
		sockets_watch_fd(agent->sockets), EPOLLIN, on_sockets, sessions);
	if (status < 0)
		return status;
	if (agent->nflog)
		status = sd_event_add_io(agent->event, &agent->nflog_source, nflog_fd(agent->nflog),
			EPOLLIN, on_nflog, sessions);
	/* A beginning is read before an end that came at the same moment. */
	if (status >= 0 && agent->nflog_source)
		status = sd_event_source_set_priority(
			agent->nflog_source, SD_EVENT_PRIORITY_IMPORTANT);
	/* Those that a daemon before this one recorded may have ended meanwhile. */
	sessions_check_all(sessions);
	return status < 0 ? status : 0;
}

static void session_kill(struct sessions *sessions, struct session *session)
{
	struct agent *agent = sessions->agent;
	int status;

	(void)session_translate(sessions, session);
	status = sockets_destroy(agent->sockets, &session->translated);
	if (status < 0 && status != -ENOENT)
		log_line(LOG_ERR, "can't end a session: %s", strerror(-status));
	if (agent->destination_nat && agent->tracking)
		(void)tracking_forget(agent->tracking, &session->flow);
	session_end(sessions, session, "killed");
}

size_t sessions_kill(
	struct sessions *sessions, const char *grant, const struct policies *only_on_expiry)
{
	size_t n = 0;

	for (struct session *session = session_table_list(&sessions->table), *next; session;
		session = next) {
		unsigned protocol =
			session->flow.l4proto == IPPROTO_TCP ? PROTOCOL_TCP : PROTOCOL_UDP;

		next = session->next;
		if (!session->grant || strcmp(session->grant, grant) != 0)
			continue;
		if (only_on_expiry &&
			!policies_kill_on_expiry(
				only_on_expiry, session->flow.local_port, protocol))
			continue;
		session_kill(sessions, session);
		n++;
	}
	return n;
}

int sessions_foreach(struct sessions *sessions,
	int (*callback)(const struct session *session, void *userdata), void *userdata)
{
	int status = 0;

	for (const struct session *session = session_table_list(&sessions->table);
		session && status >= 0; session = session->next)
		if (session->open)
			status = callback(session, userdata);
	return status < 0 ? status : 0;
}
