/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 *   batch   [ a b c d … ]      at ──▶ next to submit
 *   aside   [ x y ]            those to be tried again, oldest first; n_due of them now
 *
 * The batch goes first. A document that the agent has died of (or hung up on) a few times counts as
 * failed, too.
 */

#include <errno.h>
#include <string.h>

#include "agent/common/refusal.h"
#include "agent/common/times.h"
#include "agent/poll/backoff.h"
#include "agent/poll/delivery.h"
#include "agent/common/log.h"
#include "agent/poll/log_limit.h"
#include "agent/poll/random.h"

#define ASIDE_MAX 1024
#define ASIDE_BYTES_MAX (4 * 1024 * 1024)
#define FAILED_KEEP_USEC (3600 * USEC_PER_SEC)
#define PASSING_KEEP_USEC (86400 * USEC_PER_SEC)
#define ASIDE_BASE_USEC (2 * USEC_PER_SEC)
#define ASIDE_MIN_USEC (1 * USEC_PER_SEC)
#define ASIDE_MAX_USEC (60 * USEC_PER_SEC)
#define AGENT_AWAY_USEC (1 * USEC_PER_SEC)
#define HANG_UPS_MAX 3
#define LOG_LINES_MAX 100 /* an hour */

struct aside {
	json_t *document;
	size_t n_bytes;
	uint64_t since_usec;
};

struct delivery {
	struct agent_link *link;
	struct delivery_listener listener;

	json_t *batch;
	size_t at;

	struct aside *aside; /* ASIDE_MAX of them, once there are any */
	size_t n_aside;
	size_t n_aside_bytes;
	size_t n_due;
	bool dropped; /* for want of room, since all were settled */
	sd_event_source *again; /* when those put aside are tried */
	struct backoff backoff;

	bool under_way;
	bool is_aside; /* what is under way is aside[0] */
	unsigned n_hang_ups; /* in a row, at this document */
	sd_event_source *away; /* the agent is; tries again then */
	bool waits;
	struct log_limit refused, failed;
};

static void deliver(struct delivery *delivery);

/* The first 120 bytes of what may be from anyone. */
static const char *shorten(const char *text, char buffer[static 128])
{
	snprintf(buffer, 128, "%.120s", text ? text : "?");
	return buffer;
}

static const char *member(const json_t *parameters, const char *name)
{
	const char *text = json_string_value(json_object_get(parameters, name));

	return text ? text : "?";
}

static void aside_remove_first(struct delivery *delivery)
{
	delivery->n_aside_bytes -= delivery->aside[0].n_bytes;
	json_decref(delivery->aside[0].document);
	delivery->n_aside--;
	memmove(delivery->aside, delivery->aside + 1, delivery->n_aside * sizeof(struct aside));
}

static void aside_give_up(struct delivery *delivery)
{
	if (log_limit_passes(&delivery->failed, clock_boottime_usec()))
		log_line(LOG_ERR,
			"a document is given up that the agent could not take yet: it was tried "
			"for long enough");
	aside_remove_first(delivery);
}

/* The feed has them still. */
static void aside_drop(struct delivery *delivery)
{
	if (!delivery->dropped)
		log_line(LOG_WARNING,
			"more documents wait for the agent to take them than are kept: the feed "
			"will be asked for them again");
	delivery->dropped = true;
	aside_remove_first(delivery);
	if (delivery->n_due > delivery->n_aside)
		delivery->n_due = delivery->n_aside;
}

static void try_again_in(struct delivery *delivery, uint64_t usec)
{
	(void)sd_event_source_set_time_relative(delivery->again, usec);
	(void)sd_event_source_set_enabled(delivery->again, SD_EVENT_ONESHOT);
}

static void aside_add(struct delivery *delivery, json_t *document, uint64_t since_usec)
{
	size_t n_bytes = json_string_length(document);

	if (!delivery->aside) {
		delivery->aside = calloc(ASIDE_MAX, sizeof(*delivery->aside));
		if (!delivery->aside) {
			log_line(LOG_ERR, "a document is given up: no memory to keep it");
			return;
		}
	}
	while (delivery->n_aside > 0 &&
		(delivery->n_aside == ASIDE_MAX ||
			delivery->n_aside_bytes + n_bytes > ASIDE_BYTES_MAX))
		aside_drop(delivery);
	delivery->aside[delivery->n_aside++] = (struct aside){
		.document = json_incref(document),
		.n_bytes = n_bytes,
		.since_usec = since_usec,
	};
	delivery->n_aside_bytes += n_bytes;
	if (sd_event_source_get_enabled(delivery->again, NULL) > 0)
		return;
	try_again_in(delivery, backoff_next(&delivery->backoff, random_number()));
}

/* What was under way is over: it is the batch's next, or the first put aside. It is tried again
 * until it is keep_usec old. */
static void finish_one(struct delivery *delivery, uint64_t keep_usec)
{
	json_t *document = delivery->is_aside ? delivery->aside[0].document
					      : json_array_get(delivery->batch, delivery->at);
	uint64_t now_usec = clock_boottime_usec();
	uint64_t since_usec = delivery->is_aside ? delivery->aside[0].since_usec : now_usec;

	delivery->n_hang_ups = 0;
	if (!delivery->is_aside) {
		delivery->at++;
		if (keep_usec > 0)
			aside_add(delivery, document, since_usec);
		return;
	}
	delivery->n_due--;
	if (keep_usec == 0) {
		backoff_reset(&delivery->backoff);
		aside_remove_first(delivery);
	} else if (now_usec - since_usec >= keep_usec) {
		aside_give_up(delivery);
	} else {
		json_auto_t *kept = json_incref(document);

		aside_remove_first(delivery);
		aside_add(delivery, kept, since_usec);
	}
}

static void wait_for_agent(struct delivery *delivery)
{
	delivery->waits = true;
	(void)sd_event_source_set_time_relative(delivery->away, AGENT_AWAY_USEC);
	(void)sd_event_source_set_enabled(delivery->away, SD_EVENT_ONESHOT);
}

/* No answer: the agent is away, or went away over it. */
static void on_no_answer(struct delivery *delivery, int status)
{
	bool went_away = status != -ENOENT && status != -ECONNREFUSED && status != -EAGAIN &&
		status != -EACCES;

	if (status == -EMSGSIZE) {
		if (log_limit_passes(&delivery->refused, clock_boottime_usec()))
			log_line(LOG_WARNING,
				"a document is larger than the agent takes: it is passed over");
		finish_one(delivery, 0);
		return;
	}
	if (went_away && ++delivery->n_hang_ups >= HANG_UPS_MAX) {
		log_line(LOG_ERR, "the agent has not answered to a document %d times (%s)",
			HANG_UPS_MAX, strerror(-status));
		finish_one(delivery, FAILED_KEEP_USEC);
	}
	wait_for_agent(delivery);
}

/* Told when it is put aside, not each time that it is tried again. */
static void tell_failed(struct delivery *delivery, const json_t *parameters)
{
	char message[128];

	if (!delivery->is_aside && log_limit_passes(&delivery->failed, clock_boottime_usec()))
		log_line(LOG_ERR, "the agent could not carry out a document: %s; trying again",
			shorten(member(parameters, "message"), message));
}

static void tell_refused(
	struct delivery *delivery, const char *code, const json_t *parameters, bool passes)
{
	char shown[128], message[128];

	if (passes && delivery->is_aside)
		return;
	if (log_limit_passes(&delivery->refused, clock_boottime_usec()))
		log_line(LOG_WARNING, "the agent refuses a document: %s: %s%s",
			shorten(code, shown), shorten(member(parameters, "message"), message),
			passes ? "; trying again" : "");
}

/* For how long it is to be tried again; 0: it is over. */
static uint64_t judge_answer(
	struct delivery *delivery, int status, const char *error, const json_t *parameters)
{
	bool refused = status == LINK_ERROR && strcmp(error, "Refused") == 0;
	const char *shown = refused ? member(parameters, "code") : error;
	enum refusal_code code = refused ? refusal_code_find(shown) : REFUSAL_NONE;
	bool passes = refusal_passes(code);

	if (status != LINK_ERROR)
		return 0;
	if (strcmp(error, "Failed") == 0) {
		tell_failed(delivery, parameters);
		return FAILED_KEEP_USEC;
	}
	tell_refused(delivery, shown, parameters, passes);
	if (refusal_is_of_trust(code))
		delivery->listener.on_disbelieved(delivery->listener.userdata);
	return passes ? PASSING_KEEP_USEC : 0;
}

static void on_answer(int status, const char *error, const json_t *parameters, void *userdata)
{
	struct delivery *delivery = userdata;

	delivery->under_way = false;
	if (status < 0)
		on_no_answer(delivery, status);
	else
		finish_one(delivery, judge_answer(delivery, status, error, parameters));
	deliver(delivery);
}

/* What is no text is no document: nobody can submit it. */
static void skip_others(struct delivery *delivery)
{
	while (delivery->at < json_array_size(delivery->batch) &&
		!json_is_string(json_array_get(delivery->batch, delivery->at))) {
		if (log_limit_passes(&delivery->refused, clock_boottime_usec()))
			log_line(LOG_WARNING,
				"the feed has something among its documents that is no text: it is "
				"passed over");
		delivery->at++;
	}
}

static void batch_end(struct delivery *delivery)
{
	if (!delivery->batch)
		return;
	json_decref(TAKE_PTR(delivery->batch));
	delivery->listener.on_done(delivery->listener.userdata);
}

static void settle(struct delivery *delivery)
{
	bool dropped = delivery->dropped;

	delivery->dropped = false;
	if (dropped)
		delivery->listener.on_dropped(delivery->listener.userdata);
	else
		delivery->listener.on_settled(delivery->listener.userdata);
}

static void deliver(struct delivery *delivery)
{
	json_t *document = NULL;

	if (delivery->under_way || delivery->waits)
		return;
	skip_others(delivery);
	if (delivery->at < json_array_size(delivery->batch)) {
		document = json_array_get(delivery->batch, delivery->at);
		delivery->is_aside = false;
	} else {
		batch_end(delivery);
		/* The listener may have begun another. */
		if (delivery->under_way || delivery->batch)
			return;
		if (delivery->n_due > 0) {
			document = delivery->aside[0].document;
			delivery->is_aside = true;
		}
	}
	if (!document) {
		if (delivery->n_aside == 0)
			settle(delivery);
		return;
	}
	if (agent_link_call(delivery->link, "Submit", json_pack("{s:O}", "document", document),
		    on_answer, delivery) < 0)
		wait_for_agent(delivery);
	else
		delivery->under_way = true;
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct delivery *delivery = userdata;

	(void)source, (void)usec;
	delivery->n_due = delivery->n_aside;
	deliver(delivery);
	return 0;
}

static int on_away(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	delivery_on_agent_up(userdata);
	return 0;
}

void delivery_on_agent_up(struct delivery *delivery)
{
	(void)sd_event_source_set_enabled(delivery->away, SD_EVENT_OFF);
	delivery->waits = false;
	if (delivery->batch || delivery->n_due > 0)
		deliver(delivery);
}

void delivery_begin(struct delivery *delivery, json_t *documents)
{
	delivery->batch = json_incref(documents);
	delivery->at = 0;
	deliver(delivery);
}

void delivery_on_clock_stepped(struct delivery *delivery)
{
	if (delivery->n_aside > 0)
		try_again_in(delivery, ASIDE_MIN_USEC);
}

bool delivery_is_under_way(const struct delivery *delivery)
{
	return delivery->batch;
}

bool delivery_is_settled(const struct delivery *delivery)
{
	return !delivery->batch && delivery->n_aside == 0 && !delivery->dropped;
}

static int timer_new(sd_event *event, sd_event_source **ret,
	int (*handler)(sd_event_source *source, uint64_t usec, void *userdata), void *userdata)
{
	int r = sd_event_add_time_relative(
		event, ret, CLOCK_BOOTTIME, 0, 100 * USEC_PER_MSEC, handler, userdata);

	return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

int delivery_new(sd_event *event, struct agent_link *link, const struct delivery_listener *listener,
	struct delivery **ret)
{
	_cleanup_(delivery_freep) struct delivery *delivery = calloc(1, sizeof(*delivery));
	int r;

	if (!delivery)
		return -ENOMEM;
	delivery->link = link;
	delivery->listener = *listener;
	delivery->backoff = (struct backoff){
		.base_usec = ASIDE_BASE_USEC,
		.max_usec = ASIDE_MAX_USEC,
		.min_usec = ASIDE_MIN_USEC,
	};
	delivery->refused.n_max = delivery->failed.n_max = LOG_LINES_MAX;
	r = timer_new(event, &delivery->again, on_again, delivery);
	if (r >= 0)
		r = timer_new(event, &delivery->away, on_away, delivery);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(delivery);
	return 0;
}

struct delivery *delivery_free(struct delivery *delivery)
{
	if (!delivery)
		return NULL;
	json_decref(delivery->batch);
	while (delivery->n_aside > 0)
		aside_remove_first(delivery);
	free(delivery->aside);
	sd_event_source_disable_unref(delivery->again);
	sd_event_source_disable_unref(delivery->away);
	free(delivery);
	return NULL;
}
