/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <string.h>

#include "agent/common/log.h"
#include "agent/common/notify.h"
#include "agent/common/times.h"
#include "agent/poll/report.h"

#define CONTACT_USEC (5 * USEC_PER_SEC) /* contacts are told jitgated no more often */
#define MESSAGE_USEC \
	(600 * USEC_PER_SEC) /* other reasons for the same state are logged no more \
			      */

static const char *const states[] = {
	[FEED_CONNECTING] = "connecting",
	[FEED_CONNECTED] = "connected",
	[FEED_BACKING_OFF] = "backing_off",
	[FEED_UNAUTHORIZED] = "unauthorized",
};

static void report_send(struct report *report);

static void on_answer(int status, const char *error, const json_t *parameters, void *userdata)
{
	struct report *report = userdata;

	(void)parameters;
	report->under_way = false;
	if (status == LINK_ERROR && !report->refused) {
		log_line(LOG_WARNING,
			"jitgated does not take reports on the feed (%s): they are for root and "
			"the "
			"user jitgate-poll",
			error);
		report->refused = true;
	}
	/* An agent that is away gets it when it comes, one that did not answer with what is next to
	 * be told; one that does not take it goes without. */
	if (status < 0)
		report->changed = true;
	else
		report->has_arrived = true;
	if (status == 0 && report->changed)
		report_send(report);
}

static void report_send(struct report *report)
{
	char contact[TIME_STRING_MAX];
	json_t *parameters;

	report->changed = true;
	if (report->under_way)
		return;
	time_format_utc((int64_t)(report->contact_usec / USEC_PER_SEC), contact);
	parameters = json_pack("{s:s, s:s, s:s*, s:s*}", "url", report->url, "state",
		states[report->state], "lastContact", report->contact_usec > 0 ? contact : NULL,
		"message", report->message[0] ? report->message : NULL);
	if (agent_link_call(report->link, "ReportFeed", parameters, on_answer, report) < 0)
		return;
	report->sent_usec = clock_boottime_usec();
	report->under_way = true;
	report->changed = false;
}

void report_contact(struct report *report)
{
	uint64_t now_usec = clock_boottime_usec();
	bool is_new = report->state != FEED_CONNECTED;

	report->contact_usec = clock_realtime_usec();
	report->state = FEED_CONNECTED;
	report->message[0] = '\0';
	if (is_new) {
		log_line(LOG_INFO, "%s answers", report->url);
		notify("STATUS=%s answers", report->url);
	}
	if (is_new || report->changed || now_usec - report->sent_usec >= CONTACT_USEC)
		report_send(report);
}

bool report_note_failure(
	struct report *report, enum feed_state state, const char *message, uint64_t now_usec)
{
	bool is_new = report->state != state;

	report->is_untold |= strncmp(report->message, message, REPORT_MESSAGE_MAX - 1) != 0;
	report->state = state;
	snprintf(report->message, sizeof(report->message), "%s", message);
	if (!is_new && !(report->is_untold && now_usec - report->logged_usec >= MESSAGE_USEC))
		return false;
	report->is_untold = false;
	report->logged_usec = now_usec;
	return true;
}

void report_failure(struct report *report, enum feed_state state, const char *message)
{
	bool is_other = report->state != state ||
		strncmp(report->message, message, REPORT_MESSAGE_MAX - 1) != 0;

	if (report_note_failure(report, state, message, clock_boottime_usec()))
		log_line(state == FEED_UNAUTHORIZED ? LOG_ERR : LOG_WARNING,
			"%s: %s; asking again until it answers", report->url, message);
	if (is_other)
		notify("STATUS=%s: %s", report->url, message);
	if (is_other || report->changed)
		report_send(report);
}

void report_again(struct report *report)
{
	report_send(report);
}
