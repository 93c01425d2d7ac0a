/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <systemd/sd-id128.h>

#include "agent/common/times.h"
#include "agent/common/url.h"
#include "agent/poll/answer.h"
#include "agent/poll/backoff.h"
#include "agent/poll/batch.h"
#include "agent/poll/events.h"
#include "agent/common/log.h"
#include "agent/poll/log_limit.h"
#include "agent/poll/random.h"

#define BATCH_MAX 256
#define GATHER_USEC (5 * USEC_PER_MSEC)
#define TIMER_ACCURACY_USEC USEC_PER_MSEC
#define TIMEOUT_MS 30000
#define REPLY_BYTES_MAX (64 * 1024)
#define RETRY_MIN_USEC (100 * USEC_PER_MSEC)
#define RETRY_BASE_USEC (1 * USEC_PER_SEC)
#define RETRY_MAX_USEC (60 * USEC_PER_SEC)
#define NO_ANSWER_USEC (5 * USEC_PER_SEC)
/* Refused in a row: then it is rather the control plane that is wrong, and gets time. */
#define PASSED_OVER_MAX 3
#define LOG_LINES_MAX 60 /* an hour */

enum phase {
	IDLE,
	GATHERING,
	LISTING,
	SENDING,
	BACKING_OFF,
	NO_ANSWER, /* of the agent */
};

struct events {
	struct agent_link *link;
	struct request *request;
	struct events_listener listener;
	char *url;
	char boot_id[SD_ID128_STRING_MAX];
	enum phase phase;
	sd_event_source *timer; /* of gathering, and of asking again */
	bool kicked; /* since the agent was asked last */

	uint64_t acknowledged;
	bool is_first;
	uint64_t newest; /* that the agent has */
	size_t n_max; /* of a batch; less while an event is looked for */
	uint64_t last; /* of the batch that is being sent */
	size_t n_events; /* in it */
	uint64_t lost_told; /* up to this, what was lost has been logged */
	uint64_t damage_told; /* up to this, of the ledger's damage the listener knows */
	unsigned n_passed_over;

	struct backoff backoff;
	bool failing; /* told */
	struct log_limit passed_over;
};

static void wait_in(struct events *events, enum phase phase, uint64_t usec)
{
	events->phase = phase;
	(void)sd_event_source_set_time_relative(events->timer, usec);
	(void)sd_event_source_set_enabled(events->timer, SD_EVENT_ONESHOT);
}

static void fail(struct events *events, const char *message, const char *retry_after)
{
	uint64_t usec = backoff_next(&events->backoff, random_number());
	int64_t seconds = -1;

	if (!events->failing)
		log_line(LOG_WARNING,
			"events can't be sent: %s; the audit log keeps them until they can be",
			message);
	events->failing = true;
	if (retry_after)
		seconds = retry_after_parse(
			retry_after, (int64_t)(clock_realtime_usec() / USEC_PER_SEC));
	if (seconds > 0)
		usec += (uint64_t)seconds * USEC_PER_SEC;
	wait_in(events, BACKING_OFF, usec);
}

static void ask_agent(struct events *events);

static void go_on(struct events *events)
{
	events->phase = IDLE;
	if (events->kicked || events->newest > events->acknowledged)
		ask_agent(events);
}

static void acknowledge(struct events *events, uint64_t sequence)
{
	events->acknowledged = sequence;
	events->is_first = false;
	events->listener.on_acknowledged(sequence, events->listener.userdata);
}

static void on_sent(struct events *events, const struct response *response)
{
	char reason[ANSWER_REASON_MAX];
	uint64_t sequence;
	int r;

	r = acknowledgement_read(
		response->body ? response->body : "", response->n_bytes, &sequence, reason);
	if (r == 0 && sequence <= events->acknowledged) {
		snprintf(reason, sizeof(reason), "it acknowledges none of what was sent");
		r = -EINVAL;
	}
	if (r < 0) {
		fail(events, r == -EINVAL ? reason : strerror(-r), NULL);
		return;
	}
	if (events->failing)
		log_line(LOG_INFO, "events are sent again");
	events->failing = false;
	backoff_reset(&events->backoff);
	events->n_passed_over = 0;
	/* Of what it was not sent, it can't have any. */
	acknowledge(events, sequence < events->last ? sequence : events->last);
	if (events->n_max < BATCH_MAX)
		events->n_max *= 2;
	go_on(events);
}

/* It is this batch that is wrong, not who sends it, or when, or where to. */
static bool refuses_batch(long status)
{
	return status == 400 || status == 409 || status == 413 || status == 415 || status == 422;
}

static void on_batch_refused(struct events *events, const char *reason)
{
	if (events->n_events > 1) {
		events->n_max = events->n_events / 2;
		ask_agent(events);
		return;
	}
	if (log_limit_passes(&events->passed_over, clock_boottime_usec()))
		log_line(LOG_ERR,
			"event %" PRIu64 " is passed over: the control plane refuses it: %s",
			events->last, reason);
	acknowledge(events, events->last);
	events->n_max = BATCH_MAX;
	if (++events->n_passed_over >= PASSED_OVER_MAX)
		fail(events, reason, NULL);
	else
		go_on(events);
}

static void on_response(const struct response *response, void *userdata)
{
	struct events *events = userdata;
	char reason[ANSWER_REASON_MAX];

	if (response->status == 200 || response->status == 202) {
		on_sent(events, response);
		return;
	}
	if (response->status == 0) {
		fail(events, response->error, NULL);
		return;
	}
	error_describe(
		response->status, response->body ? response->body : "", response->n_bytes, reason);
	if (refuses_batch(response->status))
		on_batch_refused(events, reason);
	else
		fail(events, reason, response->retry_after);
}

static void send_batch(struct events *events, json_t *list)
{
	json_auto_t *object = json_pack("{s:O}", "events", list);
	char error[TRANSPORT_ERROR_MAX];
	char *body = json_dumps(object, JSON_COMPACT);
	int r;

	events->phase = SENDING;
	r = body ? request_post(events->request, events->url, body, TIMEOUT_MS, error) : -ENOMEM;
	if (r < 0)
		fail(events, body && error[0] ? error : strerror(-r), NULL);
}

static void on_log_lost(struct events *events)
{
	log_line(LOG_WARNING,
		"the agent's audit log was lost: it ends at %" PRIu64 ", and %" PRIu64
		" was sent; sending it from its beginning",
		events->newest, events->acknowledged);
	events->acknowledged = events->damage_told = 0;
	events->is_first = true;
	events->listener.on_log_lost(events->listener.userdata);
	ask_agent(events);
}

/* Once for each, though what can't be sent is listed again and again. */
static void look_for_damage(struct events *events, const json_t *listed)
{
	const json_t *event;
	size_t i;

	json_array_foreach (listed, i, event) {
		const char *type = json_string_value(json_object_get(event, "type"));
		json_int_t sequence = json_integer_value(json_object_get(event, "sequence"));

		if (!type || strcmp(type, "ledger_damaged") != 0 || sequence <= 0 ||
			(uint64_t)sequence <= events->damage_told)
			continue;
		events->damage_told = (uint64_t)sequence;
		events->listener.on_ledger_damaged(events->listener.userdata);
	}
}

static void on_listed(struct events *events, const json_t *parameters)
{
	const json_t *newest = json_object_get(parameters, "newest");
	_cleanup_(batch_done) struct batch batch = {};
	int r;

	events->newest = (uint64_t)json_integer_value(newest);
	if (json_is_integer(newest) && events->newest < events->acknowledged) {
		on_log_lost(events);
		return;
	}
	look_for_damage(events, json_object_get(parameters, "events"));
	r = batch_make(json_object_get(parameters, "events"), events->newest, events->acknowledged,
		events->is_first, events->n_max, (int64_t)(clock_realtime_usec() / USEC_PER_SEC),
		events->boot_id, &batch);
	if (r < 0) {
		fail(events, strerror(-r), NULL);
		return;
	}
	events->n_events = json_array_size(batch.events);
	if (events->n_events == 0) {
		/* It may have begun without a log that can be written. */
		events->acknowledged = events->newest;
		go_on(events);
		return;
	}
	events->last = batch.last;
	if (batch.n_lost > 0 && batch.last > events->lost_told) {
		log_line(LOG_ERR,
			"%" PRIu64 " events were lost before they could be sent: the audit log had "
			"no room for them",
			batch.n_lost);
		events->lost_told = batch.last;
	}
	send_batch(events, batch.events);
}

static void on_list(int status, const char *error, const json_t *parameters, void *userdata)
{
	struct events *events = userdata;

	events->phase = IDLE;
	if (status == 0) {
		on_listed(events, parameters);
	} else if (status < 0) {
		/* One that was away says when it is there; one that was slow, or busy, does not. */
		wait_in(events, NO_ANSWER, NO_ANSWER_USEC);
	} else if (strcmp(error, "NotPermitted") != 0) {
		fail(events, error, NULL);
	}
}

static void ask_agent(struct events *events)
{
	events->kicked = false;
	if (agent_link_call(events->link, "ListEvents",
		    json_pack("{s:I, s:I}", "after", (json_int_t)events->acknowledged, "limit",
			    (json_int_t)events->n_max),
		    on_list, events) < 0)
		fail(events, strerror(ENOMEM), NULL);
	else
		events->phase = LISTING;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	ask_agent(userdata);
	return 0;
}

void events_kick(struct events *events)
{
	events->kicked = true;
	if (events->phase == IDLE || events->phase == NO_ANSWER)
		wait_in(events, GATHERING, GATHER_USEC);
}

void events_on_feed_back(struct events *events)
{
	if (events->phase == BACKING_OFF)
		wait_in(events, GATHERING, 0);
}

int events_new(sd_event *event, const struct config *config, struct transport *transport,
	struct agent_link *link, uint64_t acknowledged, bool is_first,
	const struct events_listener *listener, struct events **ret)
{
	_cleanup_(events_freep) struct events *events = calloc(1, sizeof(*events));
	_cleanup_(freep) char *id = url_encode(config->vm_id);
	sd_id128_t boot;
	int r;

	if (!events || !id)
		return -ENOMEM;
	events->link = link;
	events->listener = *listener;
	events->acknowledged = acknowledged;
	events->is_first = is_first;
	events->n_max = BATCH_MAX;
	events->passed_over.n_max = LOG_LINES_MAX;
	events->backoff = (struct backoff){
		.base_usec = RETRY_BASE_USEC,
		.max_usec = RETRY_MAX_USEC,
		.min_usec = RETRY_MIN_USEC,
	};
	if (sd_id128_get_boot(&boot) >= 0)
		sd_id128_to_string(boot, events->boot_id);
	if (asprintf(&events->url, "%s/v1/vms/%s/events", config->feed.url, id) < 0) {
		events->url = NULL;
		return -ENOMEM;
	}
	r = request_new(transport, REPLY_BYTES_MAX, on_response, events, &events->request);
	if (r == 0)
		r = sd_event_add_time_relative(event, &events->timer, CLOCK_BOOTTIME, 0,
			TIMER_ACCURACY_USEC, on_timer, events);
	if (r >= 0)
		r = sd_event_source_set_enabled(events->timer, SD_EVENT_OFF);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(events);
	return 0;
}

struct events *events_free(struct events *events)
{
	if (!events)
		return NULL;
	sd_event_source_disable_unref(events->timer);
	request_free(events->request);
	free(events->url);
	free(events);
	return NULL;
}
