/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Do documents arrive? */

#include <errno.h>
#include <string.h>

#include "agent/cli/doctor.h"
#include "agent/cli/http.h"
#include "agent/cli/output.h"
#include "agent/common/url.h"

#define PROBE_SECONDS 5

static const char *unmask_first(void)
{
	return unit_is_masked("jitgate-poll.service") ? "sudo systemctl unmask jitgate-poll && "
						      : "";
}

static void tell_poll_unit(struct findings *findings)
{
	if (!systemd_is_there() || unit_is_enabled("jitgate-poll.service"))
		return;
	findings_add(findings, "feed", VERDICT_WARNING,
		"jitgate-poll is not enabled: after the next boot no document arrives by itself");
	findings_advise(findings, "%ssudo systemctl enable --now jitgate-poll", unmask_first());
}

/* What jitgate-poll has told the agent. */
static void tell_reported(
	const struct survey *survey, struct findings *findings, const json_t *feed)
{
	const char *state = member_text(feed, "state", "?"), *url = member_text(feed, "url", "?");
	const char *message = member_text(feed, "message", NULL);
	const char *contact = member_text(feed, "lastContact", NULL);
	char moment[2 * TIME_STRING_MAX];

	if (strcmp(state, "connected") == 0) {
		findings_add(findings, "feed", VERDICT_OK, "%s answers, last %s", url,
			contact ? moment_describe_utc(contact, survey->cli->now, moment) : "now");
	} else if (strcmp(state, "connecting") == 0) {
		findings_add(findings, "feed", VERDICT_WARNING, "%s has not answered yet", url);
		findings_advise(findings, "ask again in a moment: jitgate status");
	} else if (strcmp(state, "stopped") == 0) {
		findings_add(findings, "feed", VERDICT_PROBLEM,
			"jitgate-poll does not run: no document arrives by itself");
		findings_advise(findings,
			"%ssudo systemctl enable --now jitgate-poll; why it stopped: "
			"journalctl -u jitgate-poll",
			unmask_first());
	} else if (strcmp(state, "unauthorized") == 0) {
		findings_add(findings, "feed", VERDICT_PROBLEM,
			"%s does not accept this machine's credential", url);
		findings_advise(findings,
			"join again with a new token: sudo jitgate enroll --token -, then sudo "
			"systemctl restart jitgate-poll");
	} else {
		findings_add(findings, "feed", VERDICT_PROBLEM,
			"%s does not answer as it should%s%s", url, message ? ": " : "",
			message ? message : "");
		findings_advise(findings,
			"is it up, and reached from here? (curl -sI %s) Meanwhile documents can be "
			"brought by hand: jitgate submit",
			url);
	}
}

/* Whether the URL's host answers at all, to a question without a credential. */
static void tell_probed(const struct config_feed *feed, struct findings *findings)
{
	_cleanup_(http_freep) struct http *http = NULL;
	_cleanup_(http_answer_done) struct http_answer answer = {};
	const char *path = strstr(feed->shown_url, "://");
	_cleanup_(freep) char *base = NULL;
	int r;

	path = path ? strchr(path + 3, '/') : NULL;
	base = strndup(
		feed->shown_url, path ? (size_t)(path - feed->shown_url) : strlen(feed->shown_url));
	r = base ? http_new(base, feed->ca, NULL, &http) : -ENOMEM;
	if (r == 0)
		r = http_call(http, "GET", path ? path : "/", NULL, PROBE_SECONDS, &answer);
	if (r == HTTP_UNREACHABLE || r == HTTP_UNTRUSTED) {
		findings_add(findings, "feed", VERDICT_PROBLEM, "%s", answer.error);
		findings_advise(findings,
			"check url and ca below [feed]; documents can be brought by hand: jitgate "
			"submit");
	} else if (r == 0 || r == HTTP_BROKEN) {
		findings_add(findings, "feed", VERDICT_OK, "%s can be reached", base);
	} else {
		findings_add(findings, "feed", VERDICT_UNKNOWN, "%s could not be asked", base);
		findings_advise(findings, "curl -sI %s", base);
	}
}

void doctor_feed(const struct survey *survey, struct findings *findings)
{
	const json_t *reported = json_object_get(survey->status, "feed");
	const struct config_feed *feed = survey->config ? &survey->config->feed : NULL;

	if (json_is_object(reported)) {
		tell_reported(survey, findings, reported);
		tell_poll_unit(findings);
	} else if (feed && feed->url) {
		tell_poll_unit(findings);
		/* Who wants a client certificate may not speak to anyone else. */
		if (!feed->certificate)
			tell_probed(feed, findings);
	} else if (survey->status || feed) {
		findings_add(findings, "feed", VERDICT_OK,
			"there is none: documents come by hand (jitgate submit)");
	}
}
