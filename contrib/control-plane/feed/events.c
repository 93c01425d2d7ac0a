/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Events come in at least once. Each has its key, put only where it is not there, in one
 * transaction with what it says of its grant's progress. One that is ahead comes under another key
 * each time: what is under "ahead/" knows it again.
 *
 *   all at once ──▶ done, mostly
 *        └─▶ conflict ──▶ which are there already? ──▶ the others
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/feed/event.h"
#include "contrib/control-plane/feed/feed.h"
#include "contrib/control-plane/jit/api.h"

/* What one agent may fill of the log: 1.4 GB a day, and the backlog of one that was away. */
#define EVENT_BYTES_PER_SECOND (16 * 1024)
#define EVENT_BYTES_AT_ONCE (16 * 1024 * 1024)

#define N_KEYS 2 /* that an event may be there under */
#define LOOK_FIRST 1 /* of the builder: something is there already */

struct intake {
	struct feed *feed;
	struct feed_agent *agent;
	struct http_request *call;
	struct event *events;
	bool *is_known; /* of each event */
	size_t n_events;
	size_t n_looked_up; /* of N_KEYS keys for each event */
	bool was_tried;
	bool has_looked;
};

/* Progress in the making: each grant once. */
struct news {
	const char *grant;
	struct request *request;
	struct progress progress; /* strings of a refusal: memory's, unless owns_refusal */
	bool is_new;
	bool owns_refusal;
};

static void intake_free(struct intake *intake)
{
	for (size_t i = 0; i < intake->n_events; i++)
		event_done(&intake->events[i]);
	free(intake->events);
	free(intake->is_known);
	free(intake);
}

static void intake_fail(struct intake *intake, int error)
{
	api_respond_error(intake->call, error);
	intake_free(intake);
}

static int add_once(struct change *change, const struct event *event, int64_t until)
{
	int r = change_compare(change, 0, "activity/%s", event->key);

	if (r == 0)
		r = change_compare(change, 0, "ahead/%s", event_id(event));
	if (r == 0 && event->is_ahead)
		r = change_put(change, json_pack("{s:s}", "activity", event->key), until,
			"ahead/%s", event_id(event));
	return r;
}

/* Of a grant of ours we know whose it is; whom else an agent names is its own word. */
static int add_entry(struct intake *intake, struct change *change, const struct event *event)
{
	const struct feed_agent *agent = intake->agent;
	struct request *request = NULL;
	const char *id = agent->id ? agent->id : agent->key;
	const int64_t until = (int64_t)(clock_realtime_usec() / USEC_PER_SEC) +
		intake->feed->options.activity->retention;
	char operation[128];
	int r;

	if (event->grant)
		(void)jit_find_grant(intake->feed->options.jit, event->grant, agent->key, &request);
	snprintf(operation, sizeof(operation), OPERATION_AGENT "%s", event->type);
	r = add_once(change, event, until);
	if (r < 0)
		return r;
	return change_put(change,
		activity_entry_to_json(
			&(struct activity_entry){
				.operation = operation,
				.principal = request ? request->requestor : id,
				.subject = request ? NULL : event->subject,
				.vm = id,
				.resource = request ? request->policy : NULL,
				.request = request ? request->key : NULL,
				.port = event->port,
				.protocol = event->protocol,
				.source = event->source,
				.reason = event->reason,
				.result = strcmp(event->type, "document_refused") == 0
					? "Refused"
					: "Succeeded",
				.code = event->code,
				.message = event->message,
			},
			event_id(event), event->time),
		until, "activity/%s", event->key);
}

/* The grant's progress, as memory has it and this change makes it. NULL: not a grant of this VM. */
static struct news *find_news(
	const struct intake *intake, struct news *news, size_t *n_news, const char *grant)
{
	struct request *request;
	const struct access *access =
		jit_find_grant(intake->feed->options.jit, grant, intake->agent->key, &request);

	if (!access)
		return NULL;
	for (size_t i = *n_news; i > 0; i--)
		if (strcmp(news[i - 1].grant, grant) == 0)
			return &news[i - 1];
	news[*n_news] = (struct news){ grant, request, access->progress, false, false };
	return &news[(*n_news)++];
}

static int put_news(struct change *change, const struct news *news, size_t n_news)
{
	int r = 0;

	for (size_t i = 0; i < n_news && r == 0; i++) {
		if (!news[i].is_new)
			continue;
		r = change_compare(
			change, news[i].progress.mod_revision, "progress/%s", news[i].grant);
		if (r == 0)
			r = change_put(change, progress_to_json(&news[i].progress),
				request_ends(news[i].request) + JIT_REQUEST_KEPT_SECONDS,
				"progress/%s", news[i].grant);
	}
	return r;
}

static int build(struct change *change, struct intake *intake, struct news *news)
{
	size_t n_news = 0;
	int r = 0;

	for (size_t i = 0; i < intake->n_events && r == 0; i++) {
		const struct event *event = &intake->events[i];
		struct news *found;

		if (intake->is_known[i])
			continue;
		r = add_entry(intake, change, event);
		if (r < 0 || !event->grant)
			continue;
		found = find_news(intake, news, &n_news, event->grant);
		if (found) {
			bool had_refusal = found->progress.refused_code != NULL;

			found->is_new |= event_apply(event, &found->progress);
			found->owns_refusal |= !had_refusal && found->progress.refused_code;
		}
	}
	if (r == 0)
		r = put_news(change, news, n_news);
	for (size_t i = 0; i < n_news; i++)
		if (news[i].owns_refusal)
			progress_done(&news[i].progress);
	return r;
}

static int intake_build(struct change *change, void *userdata)
{
	struct intake *intake = userdata;
	_cleanup_(freep) struct news *news = NULL;

	if (intake->was_tried && !intake->has_looked)
		return LOOK_FIRST;
	intake->was_tried = true;
	news = calloc(intake->n_events, sizeof(*news));
	return news ? build(change, intake, news) : -ENOMEM;
}

static void look_up(struct intake *intake);

static void intake_done(int error, int64_t revision, void *userdata)
{
	struct intake *intake = userdata;

	(void)revision;
	if (error == LOOK_FIRST)
		return look_up(intake);
	if (error < 0)
		return intake_fail(intake, error);
	http_respond_json(intake->call, 202,
		json_pack("{s:I}", "acknowledged",
			(json_int_t)intake->events[intake->n_events - 1].sequence));
	intake_free(intake);
}

static void intake_begin(struct intake *intake)
{
	change_begin(intake->feed->options.store, intake->feed->options.leases, intake_build,
		intake_done, intake);
}

static void on_looked_up(int error, const struct store_range_result *result, void *userdata)
{
	struct intake *intake = userdata;

	if (error < 0)
		return intake_fail(intake, error);
	if (result->n_entries > 0)
		intake->is_known[intake->n_looked_up / N_KEYS] = true;
	intake->n_looked_up++;
	look_up(intake);
}

/* One key after the other: it is rare, and others have their turn between. */
static void look_up(struct intake *intake)
{
	char key[sizeof("activity/") + EVENT_KEY_BYTES_MAX];
	const struct event *event;
	int r;

	if (intake->n_looked_up == intake->n_events * N_KEYS) {
		intake->has_looked = true;
		return intake_begin(intake);
	}
	event = &intake->events[intake->n_looked_up / N_KEYS];
	if (intake->n_looked_up % N_KEYS == 0)
		snprintf(key, sizeof(key), "activity/%s", event->key);
	else
		snprintf(key, sizeof(key), "ahead/%s", event_id(event));
	r = store_range(intake->feed->options.store,
		&(struct store_range){ .from = key, .keys_only = true }, on_looked_up, intake);
	if (r < 0)
		intake_fail(intake, r);
}

/* The same twice in one call. */
static void mark_repeated(struct intake *intake)
{
	for (size_t i = 0; i < intake->n_events; i++)
		for (size_t k = 0; k < i && !intake->is_known[i]; k++)
			intake->is_known[i] =
				intake->events[i].sequence == intake->events[k].sequence &&
				strcmp(intake->events[i].key, intake->events[k].key) == 0;
}

static int intake_read(struct intake *intake, const json_t *list, struct problem *problem)
{
	const int64_t now_usec = (int64_t)clock_realtime_usec();
	const json_t *json;
	size_t i;
	int r = 0;

	intake->events = calloc(json_array_size(list), sizeof(*intake->events));
	intake->is_known = calloc(json_array_size(list), sizeof(*intake->is_known));
	if (!intake->events || !intake->is_known)
		return -ENOMEM;
	json_array_foreach (list, i, json) {
		intake->n_events++;
		r = event_read(json, i, intake->agent->key, now_usec, &intake->events[i], problem);
		if (r != 0)
			return r;
	}
	mark_repeated(intake);
	return 0;
}

/* As a bucket of http/rate.h, of bytes. True where there is room; otherwise it has answered. */
static bool admit_bytes(struct feed_agent *agent, struct http_request *call)
{
	const uint64_t now = clock_monotonic_usec();
	const uint64_t cost = http_request_body_bytes(call) * USEC_PER_SEC / EVENT_BYTES_PER_SECOND;
	const uint64_t most =
		now + EVENT_BYTES_AT_ONCE / EVENT_BYTES_PER_SECOND * (uint64_t)USEC_PER_SEC;
	uint64_t full = (agent->events_full_usec > now ? agent->events_full_usec : now) + cost;
	char seconds[24];

	if (full <= most) {
		agent->events_full_usec = full;
		return true;
	}
	snprintf(seconds, sizeof(seconds), "%" PRIu64, (full - most) / USEC_PER_SEC + 1);
	(void)http_request_add_header(call, "Retry-After", seconds);
	http_respond_error(call, 429, "TooManyRequests",
		"more events than the activity log takes from one agent: go on in %s seconds",
		seconds);
	return false;
}

void feed_handle_events(struct http_request *call, void *userdata)
{
	struct feed *feed = userdata;
	struct feed_agent *agent = feed_authenticate(feed, call);
	const json_t *list;
	struct intake *intake;
	struct problem problem;
	json_t *body;
	int r;

	if (!agent || !admit_bytes(agent, call))
		return;
	body = http_request_json(call);
	if (!body)
		return;
	list = json_object_get(body, "events");
	if (!json_is_array(list) || json_array_size(list) == 0 ||
		json_array_size(list) > FEED_EVENTS_MAX) {
		http_respond_error(call, 400, "InvalidRequestContent",
			"events is not a list of 1 to %d events", FEED_EVENTS_MAX);
		return;
	}
	intake = calloc(1, sizeof(*intake));
	if (!intake)
		return api_respond_error(call, -ENOMEM);
	intake->feed = feed;
	intake->agent = agent;
	intake->call = call;
	r = intake_read(intake, list, &problem);
	if (r == 0)
		return intake_begin(intake);
	if (r < 0)
		return intake_fail(intake, r);
	api_respond_problem(call, &problem);
	intake_free(intake);
}
