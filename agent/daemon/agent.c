/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <systemd/sd-id128.h>

#include "agent/common/last_good.h"
#include "agent/common/memory.h"
#include "agent/common/settings.h"
#include "agent/common/times.h"
#include "agent/daemon/agent.h"
#include "agent/daemon/compaction.h"
#include "agent/daemon/feed_report.h"
#include "agent/daemon/gatekeeper.h"
#include "agent/daemon/lifecycle.h"
#include "agent/daemon/mode.h"
#include "agent/daemon/restore.h"
#include "agent/daemon/service.h"
#include "agent/daemon/sessions.h"

/* A wall clock that moved by less than this against CLOCK_BOOTTIME was slewed or rounded, not set.
 */
#define STEP_USEC_MIN ((int64_t)USEC_PER_SEC / 2)

#define NOTE_TIME_USEC (5 * 60 * USEC_PER_SEC)

#define PREDECESSOR_TRIES 100
#define PREDECESSOR_WAIT_MS 20

int agent_load(const char *config_path, struct config **ret_config, struct trust **ret_trust,
	char **ret_error)
{
	_cleanup_(config_freep) struct config *config = NULL;
	int status;

	status = config_load(config_path, &config, ret_error);
	if (status < 0)
		return status;
	status = trust_load(config->trust, ret_trust, ret_error);
	*ret_config = TAKE_PTR(config);
	return status;
}

static int trust_nobody(struct agent *agent)
{
	static const char empty[] = "{\"keys\": []}";
	_cleanup_(freep) char *error = NULL;

	agent->trust_failed = true;
	return trust_parse(empty, sizeof(empty) - 1, "nobody", &agent->trust, &error);
}

static void on_audit_record(json_t *record, void *userdata)
{
	service_publish(userdata, record);
}

static int make_directory(const char *path, mode_t mode)
{
	/* The umask is for what is in it. */
	if (mkdir(path, mode) == 0)
		return chmod(path, mode) < 0 ? -errno : 0;
	if (errno == EEXIST)
		return 0;
	log_line(LOG_ERR, "can't make %s: %s", path, strerror(errno));
	return -errno;
}

/* Directories that systemd has not made; one that can't be made is done without, or told where it
 * matters. */
static void make_directories(const struct config *config)
{
	(void)make_directory(config->state_directory, 0700);
	(void)make_directory(config->runtime_directory, 0755);
	(void)make_directory(config->log_directory, 0750);
}

static void audit_installed(struct agent *agent)
{
	static const char *const messages[] = {
		[GATE_WAS_ABSENT] = "The gate was installed",
		[GATE_WAS_REPLACED] =
			"The gate was made anew: what was there was not as it should be",
		[GATE_WAS_PRESENT] = "The gate stood already, and is as it should be",
	};

	audit_write(agent->audit,
		&(struct audit_record){
			.type = AUDIT_GATE_INSTALLED,
			.message = messages[agent->gate_found],
			.details = json_pack("{s:s, s:b, s:b}", "mode",
				config_mode_name(mode_in_force(agent, clock_boottime_usec())),
				"owned", agent->gate_owned, "destinationNat",
				agent->destination_nat),
		});
}

static int on_catch_up(sd_event_source *source, uint64_t usec, void *userdata);

/* A timer waits for the wall clock to catch up, or it is set right. What could not come back does
 * then. */
int agent_await_clock(struct agent *agent)
{
	const struct moment now = moment_now();
	char message[256], is[TIME_STRING_MAX], was[TIME_STRING_MAX];
	int status;

	if (!agent_clock_is_behind(agent, &now)) {
		if (agent->catch_up_source) {
			agent->catch_up_source =
				sd_event_source_disable_unref(agent->catch_up_source);
			restore_again(agent);
		}
		return 0;
	}
	snprintf(message, sizeof(message),
		"This machine's clock says %s, but it has been %s before: no grant is admitted or "
		"restored until it has caught up",
		time_format_utc(moment_seconds(&now), is),
		time_format_utc((int64_t)(agent->latest_usec / USEC_PER_SEC), was));
	audit_write(agent->audit,
		&(struct audit_record){ .type = AUDIT_CLOCK_BEHIND, .message = message });
	log_line(LOG_ERR, "%s", message);
	if (agent->catch_up_source) {
		(void)sd_event_source_set_time(agent->catch_up_source, agent->latest_usec);
		return sd_event_source_set_enabled(agent->catch_up_source, SD_EVENT_ONESHOT);
	}
	status = sd_event_add_time(agent->event, &agent->catch_up_source, CLOCK_REALTIME,
		agent->latest_usec, USEC_PER_SEC, on_catch_up, agent);
	if (status < 0)
		log_line(LOG_ERR, "can't wait for the clock to catch up: %s", strerror(-status));
	return status;
}

static int on_catch_up(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agent *agent = userdata;

	(void)source, (void)usec;
	(void)agent_await_clock(agent);
	return 0;
}

static void audit_clock_step(struct agent *agent, const struct moment *now, int64_t step_usec)
{
	char message[256], before[TIME_STRING_MAX], after[TIME_STRING_MAX];
	int64_t now_seconds = moment_seconds(now);

	snprintf(message, sizeof(message), "The clock was set from %s to %s",
		time_format_utc(now_seconds - step_usec / (int64_t)USEC_PER_SEC, before),
		time_format_utc(now_seconds, after));
	audit_write(agent->audit,
		&(struct audit_record){
			.type = AUDIT_CLOCK_STEPPED,
			.message = message,
			.details = json_pack("{s:I}", "stepUsec", (json_int_t)step_usec),
		});
}

static int on_clock(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct agent *agent = userdata;
	const struct moment now = moment_now();
	int64_t step_usec = moment_ahead(&now) - agent->wall_ahead_usec;

	(void)source, (void)events;
	if (!clock_watch_read(fd))
		return 0;
	agent->wall_ahead_usec = moment_ahead(&now);
	if (step_usec >= STEP_USEC_MIN || -step_usec >= STEP_USEC_MIN)
		audit_clock_step(agent, &now, step_usec);
	lifecycle_recompute(agent);
	/* A source whose handler fails is switched off: the next step must be noticed too. */
	(void)agent_await_clock(agent);
	return 0;
}

/*
 * A daemon that was killed a moment ago may still hold its ledgers' locks and its table, until the
 * kernel has cleared it away. Calls again while the answer is busy, for PREDECESSOR_TRIES times.
 */
static int after_predecessor(struct agent *agent, int (*call)(struct agent *agent), int busy)
{
	int status = call(agent);

	for (int i = 0; i < PREDECESSOR_TRIES && status == busy; i++) {
		(void)poll(NULL, 0, PREDECESSOR_WAIT_MS);
		status = call(agent);
	}
	return status;
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agent *agent = userdata;
	const struct moment now = moment_now();

	(void)source, (void)usec;
	if (registry_count_live(agent->registry) == 0) {
		agent->time_source = sd_event_source_disable_unref(agent->time_source);
		return 0;
	}
	lifecycle_follow_clock(agent, &now);
	lifecycle_note_time(agent);
	(void)sd_event_source_set_time_relative(agent->time_source, NOTE_TIME_USEC);
	(void)sd_event_source_set_enabled(agent->time_source, SD_EVENT_ONESHOT);
	return 0;
}

void agent_note_time(struct agent *agent)
{
	if (!agent->time_source)
		(void)sd_event_add_time_relative(agent->event, &agent->time_source, CLOCK_BOOTTIME,
			NOTE_TIME_USEC, NOTE_TIME_USEC / 10, on_time, agent);
}

void agent_keep_config(const struct agent *agent)
{
	last_good_keep(agent->config_path, CONFIG_STATE_DIRECTORY, agent->config);
}

/* The kernel's part: shut before ledgers are read, which takes time. */
static int open_kernel(struct agent *agent)
{
	int status;

	status = gate_open(&agent->gate);
	if (status == 0)
		status = sockets_open(&agent->sockets);
	if (status == 0)
		status = tracking_open(&agent->tracking);
	if (status == 0)
		status = gatekeeper_watch(agent);
	if (status == 0)
		status = after_predecessor(agent, gatekeeper_begin, -EPERM);
	if (status == -EPERM)
		log_line(LOG_ERR,
			"can't install the gate: CAP_NET_ADMIN is missing, or another program owns "
			"table inet jitgate in this network namespace");
	if (status < 0)
		return status;
	status = nflog_open(GATE_LOG_GROUP, GATE_LOG_BYTES, &agent->nflog);
	if (status < 0)
		log_line(LOG_WARNING,
			"can't listen to netlink log group %d: %s; sessions will be missing from "
			"the "
			"audit log",
			GATE_LOG_GROUP, strerror(-status));
	return 0;
}

static int make_tables(struct agent *agent)
{
	int status;

	status = policies_init(&agent->policies, agent->config, NULL, NULL);
	if (status == 0)
		status = registry_new(&agent->registry);
	if (status == 0)
		status = access_map_new(&agent->access);
	if (status == 0)
		status = sessions_new(agent, &agent->sessions);
	return status;
}

static int open_audit(struct agent *agent)
{
	int file_error, status;

	status = audit_open(agent->config, on_audit_record, agent, &agent->audit, &file_error);
	if (status == 0 && file_error < 0)
		log_line(LOG_ERR, "can't write %s: %s; records go to the journal only",
			audit_path(agent->audit), strerror(-file_error));
	return status;
}

static int restore(struct agent *agent)
{
	int status;

	status = restore_all(agent);
	/* What grants had let in before is counted by the kernel's elements, which may now change.
	 */
	if (status == 0)
		status = restore_count_connections(agent);
	if (status == 0)
		status = gatekeeper_install(agent);
	if (status < 0)
		return status;
	audit_installed(agent);
	status = restore_finish(agent);
	if (status == 0)
		status = sessions_watch(agent->sessions);
	if (status == 0)
		compaction_schedule(agent);
	return status;
}

/* What OpenSSL makes once it does not make again where it had no memory for it: nothing would
 * verify until the next start. */
static int check_memory(void)
{
	return memory_n_failed() > 0 ? -ENOMEM : 0;
}

static int agent_start(struct agent *agent)
{
	sd_id128_t boot;
	int status;

	status = agent->trust ? 0 : trust_nobody(agent);
	if (status == 0)
		status = sd_id128_get_boot(&boot);
	if (status < 0)
		return status;
	sd_id128_to_string(boot, agent->boot_id);
	agent->started_usec = clock_realtime_usec();
	agent->wall_ahead_usec = (int64_t)(agent->started_usec - clock_boottime_usec());
	agent->timed_ahead_usec = agent->wall_ahead_usec;
	make_directories(agent->config);
	status = after_predecessor(agent, restore_open, -EWOULDBLOCK);
	if (status == -EWOULDBLOCK)
		log_line(LOG_ERR, "another jitgated uses %s", agent->config->state_directory);
	if (status == 0)
		status = make_tables(agent);
	if (status == 0)
		status = open_audit(agent);
	if (status < 0)
		return status;
	audit_write(agent->audit,
		&(struct audit_record){
			.type = AUDIT_AGENT_STARTED,
			.message = "jitgated " JITGATE_VERSION " started",
			.details = json_pack("{s:s, s:s}", "version", JITGATE_VERSION, "vmId",
				agent->config->vm_id),
		});
	if (agent->config_error)
		audit_write(agent->audit,
			&(struct audit_record){ .type = AUDIT_RELOAD_FAILED,
				.message = agent->config_error,
				.reason = "started with the last good configuration" });
	status = mode_start(agent);
	if (status == 0)
		status = open_kernel(agent);
	if (status == 0)
		status = clock_watch(agent->event, on_clock, agent, &agent->clock_source);
	if (status == 0)
		status = check_memory();
	if (status == 0)
		status = restore(agent);
	if (status == 0)
		status = check_memory();
	if (status == 0)
		status = agent_await_clock(agent);
	if (status < 0)
		return status;
	status = service_start(agent);
	if (status < 0)
		log_line(LOG_ERR, "can't listen on %s: %s", agent->config->socket,
			strerror(-status));
	else if (!agent->config_error)
		agent_keep_config(agent);
	return status;
}

int agent_new(sd_event *event, const char *config_path, struct config *config, struct trust *trust,
	const char *config_error, struct agent **ret)
{
	_cleanup_(agent_freep) struct agent *agent = calloc(1, sizeof(*agent));
	int status;

	if (!agent) {
		config_free(config);
		trust_free(trust);
		return -ENOMEM;
	}
	agent->event = sd_event_ref(event);
	agent->config_path = config_path;
	agent->config = config;
	agent->trust = trust;
	if (config_error)
		agent->config_error = strdup(config_error);
	status = config_error && !agent->config_error ? -ENOMEM : agent_start(agent);
	if (status < 0) {
		/* A start that fails leaves what stands. */
		agent->config->on_stop = ON_STOP_KEEP;
		return status;
	}
	*ret = TAKE_PTR(agent);
	return 0;
}

static void agent_stop(struct agent *agent)
{
	int status;

	/* Before the gate goes: to end a grant may put back what is missing of it. */
	if (agent->server && agent->audit)
		lifecycle_note_time(agent);
	if (agent->gate && agent->config->on_stop == ON_STOP_REMOVE) {
		status = gate_remove(agent->gate);
		if (status < 0 && status != -ENOENT)
			log_line(LOG_ERR, "can't remove the gate: %s", strerror(-status));
		else
			audit_write(agent->audit,
				&(struct audit_record){
					.type = AUDIT_GATE_REMOVED,
					.message =
						"The gate was removed (on_stop = remove): managed "
						"ports are open",
				});
	}
	if (agent->server && agent->audit)
		audit_write(agent->audit,
			&(struct audit_record){
				.type = AUDIT_AGENT_STOPPED, .message = "jitgated stopped" });
}

struct agent *agent_free(struct agent *agent)
{
	if (!agent)
		return NULL;
	agent_stop(agent);
	service_stop(agent);
	sd_event_source_disable_unref(agent->watch_source);
	sd_event_source_disable_unref(agent->forwarding_source);
	sd_event_source_disable_unref(agent->nflog_source);
	sd_event_source_disable_unref(agent->sockets_source);
	sd_event_source_disable_unref(agent->clock_source);
	sd_event_source_disable_unref(agent->legacy_source);
	sd_event_source_disable_unref(agent->catch_up_source);
	sd_event_source_disable_unref(agent->unread_source);
	sd_event_source_disable_unref(agent->owed_source);
	sd_event_source_disable_unref(agent->retry_source);
	sd_event_source_disable_unref(agent->compact_source);
	sd_event_source_disable_unref(agent->time_source);
	mode_stop(agent);
	sessions_free(agent->sessions);
	registry_free(agent->registry);
	access_map_free(agent->access);
	nflog_free(agent->nflog);
	sockets_free(agent->sockets);
	tracking_free(agent->tracking);
	watch_free(agent->watch);
	forwarding_free(agent->forwarding);
	gate_free(agent->gate);
	audit_free(agent->audit);
	feed_report_free(agent->feed);
	ledger_free(agent->ledger);
	ledger_free(agent->runtime);
	json_decref(agent->owed);
	policies_done(&agent->policies);
	document_free(agent->policy);
	document_free(agent->stand_in);
	trust_free(agent->trust);
	config_free(agent->config);
	free(agent->config_error);
	sd_event_unref(agent->event);
	free(agent);
	return NULL;
}

static void audit_reloaded(struct agent *agent, enum gate_mode old_mode)
{
	audit_write(agent->audit,
		&(struct audit_record){ .type = AUDIT_CONFIGURATION_RELOADED,
			.message = "Configuration and trust file were read again" });
	mode_reloaded(agent, old_mode);
}

/* What is open already keeps its place until the next start. */
static int keep_places(struct config *config, const struct config *old)
{
	char *const *const from[] = { &old->state_directory, &old->runtime_directory,
		&old->log_directory, &old->socket };
	char **const to[] = { &config->state_directory, &config->runtime_directory,
		&config->log_directory, &config->socket };

	for (size_t i = 0; i < N_ELEMENTS(from); i++) {
		char *copy;

		if (strcmp(*from[i], *to[i]) == 0)
			continue;
		log_line(LOG_WARNING, "%s stays in use until the next start", *from[i]);
		copy = strdup(*from[i]);
		if (!copy)
			return -ENOMEM;
		free(*to[i]);
		*to[i] = copy;
	}
	return 0;
}

static int reload_swap(struct agent *agent, struct config **config, struct trust **trust)
{
	struct config *old_config = agent->config;
	struct policies policies, old_policies = agent->policies;
	int status;

	status = keep_places(*config, old_config);
	if (status == 0)
		status = policies_init(&policies, *config, agent->policy, agent->stand_in);
	if (status < 0)
		return status;
	agent->config = *config;
	agent->policies = policies;
	status = gatekeeper_install(agent);
	if (status < 0) {
		agent->config = old_config;
		agent->policies = old_policies;
		policies_done(&policies);
		return status;
	}
	*config = NULL;
	audit_set_bytes_max(agent->audit, agent->config->log_bytes_max);
	trust_free(agent->trust);
	agent->trust = TAKE_PTR(*trust);
	if (agent->trust_failed || agent->unread_usec > 0) {
		/* What the ledgers have can be verified now, or read. */
		agent->trust_failed = false;
		restore_again(agent);
	}
	policies_done(&old_policies);
	audit_reloaded(agent, old_config->mode);
	config_free(old_config);
	return 0;
}

static int reload(struct agent *agent, char **ret_error)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(trust_freep) struct trust *trust = NULL;
	const char *what = "can't install the gate; the configuration in force stays";
	int status;

	status = agent_load(agent->config_path, &config, &trust, ret_error);
	if (status < 0) {
		if (*ret_error)
			(void)settings_set_string(&agent->config_error, *ret_error);
		return status;
	}
	status = reload_swap(agent, &config, &trust);
	if (status == 0) {
		free(TAKE_PTR(agent->config_error));
		agent_keep_config(agent);
		what = "the new configuration is in force, but not every grant that it does not "
		       "allow could be ended: reload again";
		status = lifecycle_reconsider(agent);
	}
	if (status < 0 && asprintf(ret_error, "%s: %s", what, strerror(-status)) < 0)
		*ret_error = NULL;
	return status;
}

int agent_reload(struct agent *agent, char **ret_error)
{
	int status = reload(agent, ret_error);

	if (status < 0) {
		const char *error = *ret_error ? *ret_error : strerror(-status);

		log_line(LOG_ERR, "the reload failed: %s", error);
		audit_write(agent->audit,
			&(struct audit_record){ .type = AUDIT_RELOAD_FAILED, .message = error });
	}
	return status;
}
