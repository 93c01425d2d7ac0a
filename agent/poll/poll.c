/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#include "agent/common/memory.h"
#include "agent/common/times.h"
#include "agent/poll/agent_link.h"
#include "agent/poll/cursor.h"
#include "agent/poll/events.h"
#include "agent/poll/feed.h"
#include "agent/common/log.h"
#include "agent/poll/poll.h"
#include "agent/poll/report.h"
#include "agent/poll/transport.h"

/* A cursor that is behind costs repetition, not loss: it is synced, which takes a while, when
 * nothing has changed for a second, or at last after some. */
#define SAVE_USEC (1 * USEC_PER_SEC)
#define SAVE_LATEST_USEC (10 * USEC_PER_SEC)

#define INTRODUCTION_USEC (1 * USEC_PER_SEC)

struct poll {
	sd_event *event;
	struct config *config;
	struct agent_link *link;
	struct transport *transport;
	struct feed *feed;
	struct events *events; /* NULL: the feed takes none */
	struct report report;
	struct cursor cursor;
	uint64_t changed_usec; /* the first change that is not saved; 0: there is none */
	bool cursor_failing; /* told */
	sd_event_source *save;
};

static void save_now(struct poll *poll)
{
	int r;

	if (poll->changed_usec == 0)
		return;
	r = cursor_save(poll->config->feed.state_directory, poll->config->feed.url,
		poll->config->vm_id, &poll->cursor);
	if (r < 0 && !poll->cursor_failing)
		log_line(LOG_WARNING,
			"can't write to %s: %s; what has come since will be asked for again after "
			"a "
			"restart",
			poll->config->feed.state_directory, strerror(-r));
	poll->cursor_failing = r < 0;
	poll->changed_usec = 0;
	(void)sd_event_source_set_enabled(poll->save, SD_EVENT_OFF);
}

static int on_save(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	save_now(userdata);
	return 0;
}

static void cursor_touch(struct poll *poll)
{
	uint64_t now_usec = clock_boottime_usec(), at_usec = now_usec + SAVE_USEC;

	if (poll->changed_usec == 0)
		poll->changed_usec = now_usec;
	if (at_usec > poll->changed_usec + SAVE_LATEST_USEC)
		at_usec = poll->changed_usec + SAVE_LATEST_USEC;
	(void)sd_event_source_set_time(poll->save, at_usec);
	(void)sd_event_source_set_enabled(poll->save, SD_EVENT_ONESHOT);
}

static void on_cursor(const char *cursor, void *userdata)
{
	struct poll *poll = userdata;

	if (strcmp(poll->cursor.documents, cursor) == 0)
		return;
	snprintf(poll->cursor.documents, sizeof(poll->cursor.documents), "%s", cursor);
	cursor_touch(poll);
}

/* Noted with the cursor: the trust file may change while this program is away. */
static void on_disbelieved(void *userdata)
{
	struct poll *poll = userdata;

	poll->cursor.disbelieved = true;
	cursor_touch(poll);
}

static void begin_anew(struct poll *poll)
{
	poll->cursor.documents[0] = '\0';
	poll->cursor.disbelieved = false;
	cursor_touch(poll);
	feed_begin_anew(poll->feed);
}

static void on_feed_back(void *userdata)
{
	struct poll *poll = userdata;

	if (poll->events)
		events_on_feed_back(poll->events);
	/* What connecting took: certificates of authorities, most of a TLS library. */
	memory_release();
}

static void on_acknowledged(uint64_t sequence, void *userdata)
{
	struct poll *poll = userdata;
	bool is_first = !poll->cursor.has_events;

	poll->cursor.events = sequence;
	poll->cursor.has_events = true;
	cursor_touch(poll);
	/* Without a note what is missing counts as older than the feed, and is not told. */
	if (is_first)
		save_now(poll);
}

/* The agent may have forgotten what it was brought: with its log, its ledger may be gone. */
static void on_forgotten(void *userdata)
{
	begin_anew(userdata);
}

static void on_agent_up(void *userdata)
{
	struct poll *poll = userdata;

	report_again(&poll->report);
	if (poll->cursor.disbelieved)
		begin_anew(poll);
	feed_on_agent_up(poll->feed);
	if (poll->events)
		events_kick(poll->events);
}

static void on_agent_event(const char *type, void *userdata)
{
	struct poll *poll = userdata;

	if (strcmp(type, "clock_stepped") == 0)
		feed_on_clock_stepped(poll->feed);
	/* An answer that comes after this may be older. */
	if (strcmp(type, "configuration_reloaded") == 0 &&
		(poll->cursor.disbelieved || feed_is_delivering(poll->feed)))
		begin_anew(poll);
	if (poll->events)
		events_kick(poll->events);
}

static void load_cursor(struct poll *poll)
{
	int r = cursor_load(poll->config->feed.state_directory, poll->config->feed.url,
		poll->config->vm_id, &poll->cursor);

	if (r < 0)
		log_line(LOG_WARNING,
			"can't read how far it had come in %s: %s; all that is live is asked for",
			poll->config->feed.state_directory,
			r == -EBADMSG ? "the file is damaged" : strerror(-r));
}

static int poll_start(struct poll *poll)
{
	const struct config *config = poll->config;
	int r;

	load_cursor(poll);
	r = sd_event_add_time_relative(
		poll->event, &poll->save, CLOCK_BOOTTIME, 0, 0, on_save, poll);
	if (r >= 0)
		r = sd_event_source_set_enabled(poll->save, SD_EVENT_OFF);
	if (r >= 0)
		r = agent_link_new(poll->event, config->socket,
			&(struct link_listener){ on_agent_up, on_agent_event, poll }, &poll->link);
	if (r < 0)
		return r;
	poll->report.link = poll->link;
	poll->report.url = config->feed.shown_url;
	r = transport_new(poll->event, &config->feed, &poll->transport);
	if (r == 0)
		r = feed_new(poll->event, config, poll->transport, poll->link, &poll->report,
			poll->cursor.documents,
			&(struct feed_listener){ on_cursor, on_disbelieved, on_feed_back, poll },
			&poll->feed);
	if (r == 0 && config->feed.kind == FEED_POLL)
		r = events_new(poll->event, config, poll->transport, poll->link,
			poll->cursor.events, !poll->cursor.has_events,
			&(struct events_listener){
				on_acknowledged, on_forgotten, on_forgotten, poll },
			&poll->events);
	return r;
}

int poll_new(sd_event *event, struct config *config, struct poll **ret)
{
	_cleanup_(poll_freep) struct poll *poll = calloc(1, sizeof(*poll));
	int r;

	if (!poll || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(TAKE_PTR(poll));
		config_free(config);
		return -ENOMEM;
	}
	poll->event = sd_event_ref(event);
	poll->config = config;
	r = poll_start(poll);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(poll);
	return 0;
}

int poll_introduce(struct poll *poll)
{
	const uint64_t end_usec = clock_monotonic_usec() + INTRODUCTION_USEC;
	int r = 0;

	while (r >= 0 && !poll->report.has_arrived) {
		const uint64_t now_usec = clock_monotonic_usec();

		if (now_usec >= end_usec)
			break;
		r = sd_event_run(poll->event, end_usec - now_usec);
	}
	return r < 0 ? r : 0;
}

struct poll *poll_free(struct poll *poll)
{
	if (!poll)
		return NULL;
	save_now(poll);
	events_free(poll->events);
	feed_free(poll->feed);
	transport_free(poll->transport);
	agent_link_free(poll->link);
	sd_event_source_disable_unref(poll->save);
	config_free(poll->config);
	sd_event_unref(poll->event);
	free(poll);
	curl_global_cleanup();
	return NULL;
}
