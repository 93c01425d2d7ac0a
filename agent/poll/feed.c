/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/common/memory.h"
#include "agent/common/text.h"
#include "agent/common/times.h"
#include "agent/common/url.h"
#include "agent/poll/answer.h"
#include "agent/poll/backoff.h"
#include "agent/poll/delivery.h"
#include "agent/poll/feed.h"
#include "agent/common/log.h"
#include "agent/poll/pace.h"
#include "agent/poll/random.h"

#define STATIC_TIMEOUT_MS 60000
#define PROBE_SECONDS 1
#define HOLD_MARGIN_MS 10000
#define LARGE_ANSWER_BYTES (256 * 1024)
#define ANEW_USEC (100 * USEC_PER_MSEC)
#define RETRY_MIN_USEC (100 * USEC_PER_MSEC)
#define RETRY_BASE_USEC (1 * USEC_PER_SEC)
#define RETRY_MAX_USEC (60 * USEC_PER_SEC)
#define UNAUTHORIZED_BASE_USEC (30 * USEC_PER_SEC)
#define UNAUTHORIZED_MAX_USEC (300 * USEC_PER_SEC)
#define UNAUTHORIZED_MIN_USEC (5 * USEC_PER_SEC)
#define TIMER_ACCURACY_USEC (20 * USEC_PER_MSEC)
#define ETAG_BYTES_MAX 256

struct feed {
	const struct config_feed *config;
	const char *vm_id;
	struct feed_listener listener;
	struct report *report;
	struct request *request;
	struct delivery *delivery;
	sd_event_source *pause; /* until the next question */

	char cursor[CURSOR_BYTES_MAX + 1]; /* asked behind, empty: for all */
	char next_cursor[CURSOR_BYTES_MAX + 1]; /* of the answer that is being delivered */
	char etag[ETAG_BYTES_MAX], next_etag[ETAG_BYTES_MAX];
	bool anew; /* forget the cursor once what is under way is done */
	bool has_answered; /* the last time */
	bool is_probe; /* what is asked now: the first question, or after a failure */
	uint64_t wait_usec; /* before the question that follows the delivery */
	uint64_t asked_usec;

	struct pace pace;
	struct backoff backoff, unauthorized;
};

static bool is_static(const struct feed *feed)
{
	return feed->config->kind == FEED_STATIC;
}

char *feed_url(
	const struct config_feed *feed, const char *vm_id, const char *cursor, int64_t wait_seconds)
{
	_cleanup_(freep) char *id = url_encode(vm_id);
	_cleanup_(freep) char *after = url_encode(cursor);
	char *url;

	if (feed->kind == FEED_STATIC)
		return strdup(feed->url);
	if (!id || !after ||
		asprintf(&url, "%s/v1/vms/%s/documents?%s%s%swait=%" PRId64, feed->url, id,
			*cursor ? "after=" : "", after, *cursor ? "&" : "", wait_seconds) < 0)
		return NULL;
	return url;
}

static void pause_for(struct feed *feed, uint64_t usec)
{
	(void)sd_event_source_set_time_relative(feed->pause, usec);
	(void)sd_event_source_set_enabled(feed->pause, SD_EVENT_ONESHOT);
}

static void feed_fail(
	struct feed *feed, enum feed_state state, const char *message, const char *retry_after)
{
	struct backoff *backoff = state == FEED_UNAUTHORIZED ? &feed->unauthorized : &feed->backoff;
	uint64_t usec = backoff_next(backoff, random_number());
	int64_t seconds = -1;

	if (retry_after)
		seconds = retry_after_parse(
			retry_after, (int64_t)(clock_realtime_usec() / USEC_PER_SEC));
	/* Never earlier than it asks for, and not all at the same time. */
	if (seconds >= 0)
		usec += (uint64_t)seconds * USEC_PER_SEC;
	feed->has_answered = false;
	report_failure(feed->report, state, message);
	pause_for(feed, usec);
}

/* How long a question may take: what it may be held, and time for a large answer to come. */
static uint64_t timeout_ms(const struct feed *feed)
{
	uint64_t wait_ms = (uint64_t)feed->config->wait * 1000;

	return is_static(feed) ? STATIC_TIMEOUT_MS : wait_ms + wait_ms / 2 + HOLD_MARGIN_MS;
}

static void ask(struct feed *feed)
{
	_cleanup_(freep) char *url = NULL;
	char error[TRANSPORT_ERROR_MAX];
	int r;

	if (feed->anew) {
		feed->anew = false;
		feed->cursor[0] = feed->etag[0] = '\0';
	}
	/* Held for long, it would not tell whether the feed is back. */
	feed->is_probe = !feed->has_answered;
	url = feed_url(feed->config, feed->vm_id, feed->cursor,
		feed->is_probe ? PROBE_SECONDS : feed->config->wait);
	feed->asked_usec = clock_boottime_usec();
	r = url ? request_get(feed->request, url, feed->etag[0] ? feed->etag : NULL,
			  timeout_ms(feed), error)
		: -ENOMEM;
	if (r < 0)
		feed_fail(feed, FEED_BACKING_OFF, url && error[0] ? error : strerror(-r), NULL);
}

static int on_pause(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	ask(userdata);
	return 0;
}

static void ask_after(struct feed *feed, uint64_t usec)
{
	if (usec > 0)
		pause_for(feed, usec);
	else
		ask(feed);
}

static void feed_answers(struct feed *feed)
{
	bool is_back = !feed->has_answered;

	feed->has_answered = true;
	backoff_reset(&feed->backoff);
	backoff_reset(&feed->unauthorized);
	report_contact(feed->report);
	if (is_back)
		feed->listener.on_back(feed->listener.userdata);
}

static uint64_t interval_usec(const struct feed *feed)
{
	uint64_t usec = (uint64_t)feed->config->interval * USEC_PER_SEC;

	/* A tenth either way, so that those that were started together do not ask together. */
	return usec - usec / 10 + random_number() % (usec / 5 + 1);
}

/* Until the next question, after one that brought something or not. */
static uint64_t next_usec(struct feed *feed, bool has_news)
{
	uint64_t now_usec = clock_boottime_usec();

	if (is_static(feed))
		return interval_usec(feed);
	return pace_next(
		&feed->pace, has_news, now_usec - feed->asked_usec, now_usec, interval_usec(feed));
}

static bool is_json(const char *content_type)
{
	return content_type && strncasecmp(content_type, "application/json", 16) == 0 &&
		(content_type[16] == '\0' || strchr("; \t", content_type[16]));
}

static void on_documents(struct feed *feed, const struct response *response)
{
	char reason[ANSWER_REASON_MAX];
	struct answer answer;
	bool has_news;
	int r;

	/* An object store may give any type. */
	if (!is_static(feed) && !is_json(response->content_type)) {
		snprintf(reason, sizeof(reason), "it answers with %.64s, which is not JSON",
			response->content_type ? response->content_type : "no content type");
		text_make_printable(reason);
		feed_fail(feed, FEED_BACKING_OFF, reason, NULL);
		return;
	}
	r = answer_read(response->body ? response->body : "", response->n_bytes, !is_static(feed),
		&answer, reason);
	if (r < 0) {
		feed_fail(feed, FEED_BACKING_OFF, r == -EINVAL ? reason : strerror(-r), NULL);
		return;
	}
	feed_answers(feed);
	/* The same cursor again promises the same answer again. */
	has_news = answer.more || strcmp(answer.cursor, feed->cursor) != 0;
	feed->wait_usec = next_usec(feed, has_news);
	memcpy(feed->next_cursor, answer.cursor, sizeof(answer.cursor));
	snprintf(feed->next_etag, sizeof(feed->next_etag), "%s",
		is_static(feed) && response->etag ? response->etag : "");
	delivery_begin(feed->delivery, answer.documents);
	answer_done(&answer);
	/* What a large answer took is not needed again soon. */
	if (response->n_bytes >= LARGE_ANSWER_BYTES)
		memory_release();
}

/* Where it begins anew, what it has come to so far does not count. */
static void tell_cursor(struct feed *feed)
{
	if (!feed->anew && delivery_is_settled(feed->delivery))
		feed->listener.on_cursor(feed->cursor, feed->listener.userdata);
}

static void on_delivered(void *userdata)
{
	struct feed *feed = userdata;

	memcpy(feed->cursor, feed->next_cursor, sizeof(feed->cursor));
	memcpy(feed->etag, feed->next_etag, sizeof(feed->etag));
	tell_cursor(feed);
	ask_after(feed, feed->wait_usec);
}

static void on_settled(void *userdata)
{
	tell_cursor(userdata);
}

static void on_dropped(void *userdata)
{
	feed_begin_anew(userdata);
}

static void on_disbelieved(void *userdata)
{
	struct feed *feed = userdata;

	feed->listener.on_disbelieved(feed->listener.userdata);
}

static void on_error(struct feed *feed, const struct response *response)
{
	char reason[ANSWER_REASON_MAX];

	error_describe(
		response->status, response->body ? response->body : "", response->n_bytes, reason);
	if (response->status == 401 || response->status == 403) {
		feed_fail(feed, FEED_UNAUTHORIZED, reason, response->retry_after);
		return;
	}
	if ((response->status == 400 || response->status == 410) && feed->cursor[0]) {
		log_line(LOG_NOTICE,
			"the feed does not know the cursor any more (%s): asking for "
			"all that is live",
			reason);
		feed->cursor[0] = '\0';
		feed->listener.on_cursor("", feed->listener.userdata);
		pause_for(feed, backoff_next(&feed->backoff, random_number()));
		return;
	}
	if (response->status >= 300 && response->status < 400)
		snprintf(reason, sizeof(reason), "HTTP %ld: redirects are not followed%s%.128s",
			response->status, response->location ? ": give the url it leads to, " : "",
			response->location ? response->location : "");
	text_make_printable(reason);
	feed_fail(feed, FEED_BACKING_OFF, reason, response->retry_after);
}

static void on_response(const struct response *response, void *userdata)
{
	struct feed *feed = userdata;
	bool nothing_new = response->status == 204 ||
		(response->status == 304 && is_static(feed) && feed->etag[0]);

	if (response->status == 0) {
		feed_fail(feed, FEED_BACKING_OFF, response->error, NULL);
	} else if (response->status == 200) {
		on_documents(feed, response);
	} else if (nothing_new) {
		feed_answers(feed);
		ask_after(feed, next_usec(feed, false));
	} else {
		on_error(feed, response);
	}
}

void feed_on_agent_up(struct feed *feed)
{
	delivery_on_agent_up(feed->delivery);
	/* Of a control plane's it tells in an event what it has forgotten (poll.c). */
	if (is_static(feed))
		feed_begin_anew(feed);
}

void feed_on_clock_stepped(struct feed *feed)
{
	delivery_on_clock_stepped(feed->delivery);
}

bool feed_is_delivering(const struct feed *feed)
{
	return delivery_is_under_way(feed->delivery);
}

void feed_begin_anew(struct feed *feed)
{
	feed->anew = true;
	if (!feed->has_answered || feed_is_delivering(feed))
		return;
	/* Nobody waits until a question that is held is over. */
	request_cancel(feed->request);
	pause_for(feed, ANEW_USEC);
}

int feed_new(sd_event *event, const struct config *config, struct transport *transport,
	struct agent_link *link, struct report *report, const char *cursor,
	const struct feed_listener *listener, struct feed **ret)
{
	_cleanup_(feed_freep) struct feed *feed = calloc(1, sizeof(*feed));
	int r;

	if (!feed)
		return -ENOMEM;
	feed->config = &config->feed;
	feed->vm_id = config->vm_id;
	feed->report = report;
	feed->listener = *listener;
	snprintf(feed->cursor, sizeof(feed->cursor), "%s", cursor);
	pace_init(&feed->pace);
	feed->backoff = (struct backoff){
		.base_usec = RETRY_BASE_USEC,
		.max_usec = RETRY_MAX_USEC,
		.min_usec = RETRY_MIN_USEC,
	};
	feed->unauthorized = (struct backoff){
		.base_usec = UNAUTHORIZED_BASE_USEC,
		.max_usec = UNAUTHORIZED_MAX_USEC,
		.min_usec = UNAUTHORIZED_MIN_USEC,
	};
	r = request_new(transport, ANSWER_BYTES_MAX, on_response, feed, &feed->request);
	if (r == 0)
		r = delivery_new(event, link,
			&(struct delivery_listener){
				on_delivered, on_settled, on_dropped, on_disbelieved, feed },
			&feed->delivery);
	if (r == 0)
		r = sd_event_add_time_relative(event, &feed->pause, CLOCK_BOOTTIME, 0,
			TIMER_ACCURACY_USEC, on_pause, feed);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(feed);
	return 0;
}

struct feed *feed_free(struct feed *feed)
{
	if (!feed)
		return NULL;
	sd_event_source_disable_unref(feed->pause);
	request_free(feed->request);
	delivery_free(feed->delivery);
	free(feed);
	return NULL;
}
