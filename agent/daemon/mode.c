/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "agent/common/times.h"
#include "agent/daemon/gatekeeper.h"
#include "agent/daemon/mode.h"

#define TIMER_ACCURACY_USEC (1 * USEC_PER_MSEC)

uint64_t mode_trial_left_usec(const struct agent *agent, uint64_t now_usec)
{
	uint64_t deadline_usec = agent->trial.deadline_usec;

	if (agent->config->mode == MODE_ENFORCE)
		return 0;
	return deadline_usec > now_usec ? deadline_usec - now_usec : 0;
}

enum gate_mode mode_in_force(const struct agent *agent, uint64_t now_usec)
{
	return mode_trial_left_usec(agent, now_usec) > 0 ? MODE_ENFORCE : agent->config->mode;
}

static void audit_mode(
	struct agent *agent, const char *message, const char *who, const char *reason)
{
	uint64_t now_usec = clock_boottime_usec();
	bool on_trial = mode_trial_left_usec(agent, now_usec) > 0;

	audit_write(agent->audit,
		&(struct audit_record){
			.type = AUDIT_MODE_CHANGED,
			.message = message,
			.subject = who,
			.reason = reason,
			.details = json_pack("{s:s, s:b}", "mode",
				config_mode_name(mode_in_force(agent, now_usec)), "onTrial",
				on_trial),
		});
}

static int on_trial_over(sd_event_source *source, uint64_t usec, void *userdata);

static int set_timer(struct agent *agent)
{
	mode_stop(agent);
	if (agent->trial.deadline_usec == 0)
		return 0;
	return sd_event_add_time(agent->event, &agent->trial_source, CLOCK_BOOTTIME,
		agent->trial.deadline_usec, TIMER_ACCURACY_USEC, on_trial_over, agent);
}

/* A file that stays tells of a trial with the same end: at worst the next daemon goes on with it.
 */
static void end_trial(struct agent *agent)
{
	int status = trial_forget(agent->config->runtime_directory);

	if (status < 0)
		log_line(LOG_WARNING, "can't remove %s/trial: %s", agent->config->runtime_directory,
			strerror(-status));
	agent->trial = (struct trial){};
	mode_stop(agent);
}

static int on_trial_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agent *agent = userdata;
	struct trial trial = agent->trial;
	char message[384], reason[128], duration[TIME_STRING_MAX];

	(void)source, (void)usec;
	end_trial(agent);
	/* Tried again where it fails; the kernel lets pass already. */
	(void)gatekeeper_install(agent);
	snprintf(message, sizeof(message),
		"Nobody confirmed what %s began: the mode is audit again, refusals are counted, "
		"packets pass",
		trial.by);
	snprintf(reason, sizeof(reason), "not confirmed within %s",
		duration_format(trial.seconds, duration));
	audit_mode(agent, message, trial.by, reason);
	return 0;
}

int mode_start(struct agent *agent)
{
	int status = trial_load(agent->config->runtime_directory, agent->boot_id,
		clock_boottime_usec(), &agent->trial);

	if (status == -ENOMEM)
		return status;
	if (status < 0 && status != -ENOENT)
		log_line(LOG_WARNING, "can't read %s/trial: %s; the configuration's mode counts",
			agent->config->runtime_directory, strerror(-status));
	if (status < 0 || agent->config->mode == MODE_ENFORCE) {
		end_trial(agent);
		return 0;
	}
	/* One that is over ends as soon as the loop runs. */
	status = set_timer(agent);
	return status < 0 ? status : 0;
}

/* Makes trial the one that runs, in the file, the timer and the kernel; none where it is all zeros.
 */
static int change_trial(struct agent *agent, const struct trial *trial)
{
	const char *directory = agent->config->runtime_directory;
	int status;

	status = trial->deadline_usec > 0 ? trial_save(directory, agent->boot_id, trial)
					  : trial_forget(directory);
	if (status < 0)
		return status;
	agent->trial = *trial;
	status = set_timer(agent);
	return status < 0 ? status : gatekeeper_install(agent);
}

static void audit_trial(struct agent *agent)
{
	const struct trial *trial = &agent->trial;
	char message[384], reason[128], duration[TIME_STRING_MAX];

	duration_format(trial->seconds, duration);
	snprintf(message, sizeof(message),
		"%s enforces on trial: the mode is enforce, and audit again after %s unless "
		"confirmed",
		trial->by, duration);
	snprintf(reason, sizeof(reason), "on trial for %s", duration);
	audit_mode(agent, message, trial->by, reason);
}

static int enforce_on_trial(struct agent *agent, int64_t seconds, const char *who)
{
	const struct trial before = agent->trial;
	struct trial trial = {
		.deadline_usec = clock_boottime_usec() + (uint64_t)seconds * USEC_PER_SEC,
		.seconds = seconds,
	};
	int status;

	snprintf(trial.by, sizeof(trial.by), "%s", who);
	status = change_trial(agent, &trial);
	if (status < 0) {
		(void)change_trial(agent, &before);
		return status;
	}
	audit_trial(agent);
	return 0;
}

/* The kernel first: a daemon that dies between leaves the trial running. */
static int enforce_for_good(struct agent *agent, const char *who)
{
	bool confirmed = mode_trial_left_usec(agent, clock_boottime_usec()) > 0;
	char message[256];
	int status;

	agent->config->mode = MODE_ENFORCE;
	status = gatekeeper_install(agent);
	if (status < 0) {
		agent->config->mode = MODE_AUDIT;
		return status;
	}
	end_trial(agent);
	agent_keep_config(agent);
	snprintf(message, sizeof(message),
		confirmed ? "%s confirmed: the mode is enforce, for good"
			  : "%s enforces: the mode is enforce, for good",
		who);
	audit_mode(agent, message, who, confirmed ? "confirmed" : NULL);
	return 0;
}

int mode_enforce(struct agent *agent, int64_t seconds, const char *who, bool *ret_changed)
{
	*ret_changed = agent->config->mode != MODE_ENFORCE;
	if (!*ret_changed)
		return 0;
	return seconds > 0 ? enforce_on_trial(agent, seconds, who) : enforce_for_good(agent, who);
}

int mode_confirm(struct agent *agent, const char *who)
{
	if (mode_trial_left_usec(agent, clock_boottime_usec()) == 0)
		return -ENOENT;
	return enforce_for_good(agent, who);
}

void mode_reloaded(struct agent *agent, enum gate_mode before)
{
	bool confirmed = agent->trial.deadline_usec > 0;
	const char *message = "The mode is enforce now";

	if (agent->config->mode == before)
		return;
	if (agent->config->mode == MODE_AUDIT)
		message = "The mode is audit now: refusals are counted, packets pass";
	else if (confirmed)
		message = "The configuration confirms the trial: the mode is enforce, for good";
	if (confirmed)
		end_trial(agent);
	audit_mode(agent, message, NULL, "the configuration was read again");
}

void mode_stop(struct agent *agent)
{
	agent->trial_source = sd_event_source_disable_unref(agent->trial_source);
}
