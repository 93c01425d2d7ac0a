/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Is the clock sound? Documents speak wall-clock time. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/timex.h>

#include "agent/cli/doctor.h"
#include "agent/cli/output.h"

#define LEDGER_LINE_MAX 64 /* of one that tells the time */
#define LEDGER_BYTES_MAX (INT64_C(256) * 1024 * 1024)

/* The latest time in the ledger, seconds; 0: none, or it can't be read. The daemon's lock on it is
 * left alone. */
static int64_t ledger_latest(const struct survey *survey)
{
	char path[4096], line[4096];
	int64_t latest_usec = 0;
	bool begins = true;
	FILE *file;

	if (!survey->config)
		return 0;
	snprintf(path, sizeof(path), "%s/ledger", survey->config->state_directory);
	file = fopen(path, "re");
	for (int64_t n = 0; file && n < LEDGER_BYTES_MAX && fgets(line, sizeof(line), file);
		n += (int64_t)strlen(line)) {
		bool is_whole = begins && strlen(line) < LEDGER_LINE_MAX;
		int64_t usec;

		begins = line[strlen(line) - 1] == '\n';
		if (is_whole && sscanf(line, "{\"clock\":%*[ ]%" SCNd64 "}", &usec) != 1 &&
			sscanf(line, "{\"clock\":%" SCNd64 "}", &usec) != 1)
			continue;
		if (is_whole && usec > latest_usec)
			latest_usec = usec;
	}
	if (file)
		fclose(file);
	return latest_usec / (int64_t)USEC_PER_SEC;
}

static void advise(const struct survey *survey, struct findings *findings)
{
	const struct config *config = survey->config;

	findings_advise(findings,
		"set it (timedatectl set-ntp true, or sudo date --set ...): was the machine rolled "
		"back, or has it no clock that runs while it is off? Where it is right now, and "
		"was wrong then: sudo systemctl stop jitgated, sudo rm -f %s/ledger %s/ledger, "
		"sudo systemctl start jitgated; grants and revocations are then submitted anew",
		config ? config->state_directory : CONFIG_STATE_DIRECTORY,
		config ? config->runtime_directory : CONFIG_RUNTIME_DIRECTORY);
}

/* Returns true where it told so. */
static bool tell_behind(const struct survey *survey, struct findings *findings)
{
	const char *told = member_text(survey->status, "clockBehindUntil", NULL);
	int64_t latest = 0;
	char was[2 * TIME_STRING_MAX];

	if (!told) {
		latest = survey->status ? 0 : ledger_latest(survey);
		if (latest <= survey->cli->now)
			return false;
	}
	findings_add(findings, "clock", VERDICT_PROBLEM,
		"the clock is behind: it has been %s before, and no grant is admitted until it is "
		"there again",
		told ? moment_describe_utc(told, survey->cli->now, was)
		     : moment_describe(latest, survey->cli->now, was));
	advise(survey, findings);
	return true;
}

void doctor_clock(const struct survey *survey, struct findings *findings)
{
	struct timex state = {};
	int r = adjtimex(&state);

	if (tell_behind(survey, findings))
		return;
	if (r < 0) {
		findings_add(findings, "clock", VERDICT_UNKNOWN,
			"whether the clock is kept right can't be asked: %s", strerror(errno));
		findings_advise(findings, "compare: date --utc");
		return;
	}
	if (state.status & STA_UNSYNC) {
		findings_add(findings, "clock", VERDICT_WARNING,
			"nothing keeps the clock right: where it goes wrong, grants begin and end "
			"too early or too late");
		findings_advise(findings,
			"timedatectl set-ntp true, or chrony; where the host keeps a virtual "
			"machine's clock, compare: date --utc");
		return;
	}
	findings_add(findings, "clock", VERDICT_OK, "the clock is kept right");
}
