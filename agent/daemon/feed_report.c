/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include "agent/common/text.h"
#include "agent/common/times.h"
#include "agent/common/url.h"
#include "agent/daemon/feed_report.h"
#include "cleanup.h"

#define MESSAGE_BYTES_MAX 1024

static const char *const states[] = { "connecting", "connected", "backing_off", "unauthorized" };

struct feed_report {
	char *url;
	const char *state;
	char *contact; /* or NULL, as is message */
	char *message;
	pid_t pid; /* who reported; 0: not in this PID namespace */
};
DEFINE_CLEANUP(struct feed_report *, feed_report_free)

struct feed_report *feed_report_free(struct feed_report *report)
{
	if (!report)
		return NULL;
	free(report->url);
	free(report->contact);
	free(report->message);
	free(report);
	return NULL;
}

static const char *state_find(const char *name)
{
	for (size_t i = 0; name && i < N_ELEMENTS(states); i++)
		if (strcmp(name, states[i]) == 0)
			return states[i];
	return NULL;
}

/* An optional text. Returns false where it is something else. */
static bool text_get(const json_t *parameters, const char *key, size_t n_max, const char **ret)
{
	const json_t *value = json_object_get(parameters, key);

	*ret = json_string_value(value);
	if (!value || json_is_null(value))
		return true;
	return *ret && strlen(*ret) <= n_max && text_is_printable(*ret);
}

static int text_copy(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

int feed_report_read(
	const json_t *parameters, pid_t pid, struct feed_report **report, const char **ret_wrong)
{
	const char *state = state_find(json_string_value(json_object_get(parameters, "state")));
	_cleanup_(feed_report_freep) struct feed_report *made = NULL;
	const char *url, *contact, *message;
	int64_t seconds;

	*ret_wrong = NULL;
	if (!text_get(parameters, "url", URL_BYTES_MAX, &url) || !url)
		*ret_wrong = "url";
	else if (!state)
		*ret_wrong = "state";
	else if (!text_get(parameters, "lastContact", TIME_STRING_MAX, &contact) ||
		(contact && time_parse_utc(contact, &seconds) < 0))
		*ret_wrong = "lastContact";
	else if (!text_get(parameters, "message", MESSAGE_BYTES_MAX, &message))
		*ret_wrong = "message";
	if (*ret_wrong)
		return -EINVAL;
	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->state = state;
	made->pid = pid;
	if (text_copy(url, &made->url) < 0 || text_copy(contact, &made->contact) < 0 ||
		text_copy(message, &made->message) < 0)
		return -ENOMEM;
	feed_report_free(*report);
	*report = TAKE_PTR(made);
	return 0;
}

/* A process that is there but another user's can't be signalled: that is EPERM. */
static bool reporter_is_gone(const struct feed_report *report)
{
	return report->pid > 0 && kill(report->pid, 0) < 0 && errno == ESRCH;
}

json_t *feed_report_to_json(const struct feed_report *report, const char *url)
{
	bool is_known = report && url && strcmp(report->url, url) == 0;

	if (report && !reporter_is_gone(report))
		return json_pack("{s:s, s:s, s:s*, s:s*}", "url", report->url, "state",
			report->state, "lastContact", report->contact, "message", report->message);
	if (!url)
		return NULL;
	return json_pack("{s:s, s:s, s:s*}", "url", url, "state", "stopped", "lastContact",
		is_known ? report->contact : NULL);
}
