/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Does the agent run, as it should, and from the next boot on? */

#include <errno.h>
#include <glob.h>
#include <mntent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cli/doctor.h"
#include "agent/cli/output.h"
#include "agent/common/varlink.h"

#define FSTAB "/etc/fstab"
#define ORDERED "x-systemd.before=jitgated.service"

bool systemd_is_there(void)
{
	return access("/run/systemd/system", F_OK) == 0;
}

bool unit_is_masked(const char *unit)
{
	static const char nowhere[] = "/dev/null";
	char path[256], target[sizeof(nowhere)];
	ssize_t n;

	snprintf(path, sizeof(path), "/etc/systemd/system/%s", unit);
	n = readlink(path, target, sizeof(target));
	return n == (ssize_t)strlen(nowhere) && memcmp(target, nowhere, (size_t)n) == 0;
}

bool unit_is_enabled(const char *unit)
{
	static const char *const directories[] = {
		"/etc/systemd/system/*.wants",
		"/etc/systemd/system/*.requires",
		"/usr/lib/systemd/system/*.wants",
		"/lib/systemd/system/*.wants",
	};
	bool found = false;

	/* Masking leaves the links of enabling. */
	if (unit_is_masked(unit))
		return false;
	for (size_t i = 0; i < N_ELEMENTS(directories) && !found; i++) {
		char pattern[256];
		glob_t paths;

		snprintf(pattern, sizeof(pattern), "%s/%s", directories[i], unit);
		found = glob(pattern, GLOB_NOSORT, NULL, &paths) == 0;
		globfree(&paths);
	}
	return found;
}

/* Whether a file system that is mounted at point has what is at path. Not the root: that is there
 * first, whatever its line says. */
static bool is_above(const char *point, const char *path)
{
	size_t n = strlen(point);

	while (n > 0 && point[n - 1] == '/')
		n--;
	return n > 0 && strncmp(point, path, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* systemd has what is of these types wait for the network, as with _netdev. */
static bool is_of_network(const char *type)
{
	static const char *const types[] = { "afs", "ceph", "cifs", "davfs", "gfs", "gfs2",
		"glusterfs", "lustre", "ncp", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "pvfs2",
		"smb3", "smbfs", "sshfs" };

	if (strncmp(type, "fuse.", 5) == 0)
		type += 5;
	for (size_t i = 0; i < N_ELEMENTS(types); i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return false;
}

/* What makes a file system come only after jitgated, or NULL. */
static const char *comes_late(const struct mntent *entry)
{
	static const char *const options[] = { "_netdev", "noauto", "x-systemd.automount" };

	for (size_t i = 0; i < N_ELEMENTS(options); i++)
		if (hasmntopt(entry, options[i]))
			return options[i];
	return is_of_network(entry->mnt_type) ? entry->mnt_type : NULL;
}

/* The gate comes before everything, also before a file system that may be missing or comes with the
 * network. */
static void tell_mount(struct findings *findings, const struct mntent *entry)
{
	const char *late = comes_late(entry);

	if (late) {
		findings_add(findings, "boot", VERDICT_WARNING,
			"%s is mounted with %s: at a boot jitgated is there before it, and finds "
			"no grants",
			entry->mnt_dir, late);
		findings_advise(findings,
			"have the agent's directories elsewhere (man 5 jitgate-agent.conf); or, "
			"where it is on a disk of this machine, take %s out of its line in " FSTAB,
			late);
	} else if (hasmntopt(entry, "nofail") && !strstr(entry->mnt_opts, ORDERED)) {
		findings_add(findings, "boot", VERDICT_WARNING,
			"%s is mounted with nofail: at a boot jitgated may be there before it, and "
			"finds no grants",
			entry->mnt_dir);
		findings_advise(findings, "write " ORDERED " into its line in " FSTAB);
	}
}

static void tell_mounts(const struct survey *survey, struct findings *findings)
{
	const struct config *config = survey->config;
	const char *state = config ? config->state_directory : CONFIG_STATE_DIRECTORY;
	const char *log = config ? config->log_directory : CONFIG_LOG_DIRECTORY;
	FILE *table = setmntent(FSTAB, "re");
	const struct mntent *entry;

	while (table && (entry = getmntent(table)))
		if (entry->mnt_dir[0] == '/' &&
			(is_above(entry->mnt_dir, state) || is_above(entry->mnt_dir, log)))
			tell_mount(findings, entry);
	if (table)
		endmntent(table);
}

static void tell_boot(const struct survey *survey, struct findings *findings)
{
	if (!systemd_is_there())
		return;
	if (unit_is_enabled("jitgated.service")) {
		findings_add(findings, "boot", VERDICT_OK,
			"jitgated is started at boot, before the network comes up");
		tell_mounts(survey, findings);
		return;
	}
	findings_add(findings, "boot", VERDICT_WARNING,
		"jitgated is %s: after the next boot nothing is guarded",
		unit_is_masked("jitgated.service") ? "masked" : "not enabled");
	findings_advise(findings, "%ssudo systemctl enable jitgated",
		unit_is_masked("jitgated.service") ? "sudo systemctl unmask jitgated && " : "");
}

static void tell_running(const struct survey *survey, struct findings *findings)
{
	const json_t *gate = json_object_get(survey->status, "gate");
	const json_t *ports = json_object_get(survey->status, "ports");
	const char *reverts_at = member_text(survey->status, "revertsAt", NULL);
	char moment[2 * TIME_STRING_MAX];

	findings_add(findings, "agent", VERDICT_OK, "jitgated %s runs, for the machine %s",
		member_text(survey->status, "version", "?"),
		member_text(survey->status, "vmId", "?"));
	if (!json_is_true(json_object_get(gate, "installed"))) {
		findings_add(findings, "gate", VERDICT_PROBLEM,
			"the gate is not in the kernel: nothing is kept out");
		findings_advise(findings,
			"sudo systemctl restart jitgated; why: journalctl -u "
			"jitgated");
	} else if (json_array_size(ports) == 0) {
		findings_add(findings, "gate", VERDICT_WARNING,
			"no port is managed: everything is let through");
		findings_advise(findings, "jitgate assess proposes a configuration");
	} else if (survey->is_audit) {
		findings_add(findings, "gate", VERDICT_WARNING,
			"mode = audit: nothing is refused yet, only counted");
		findings_advise(findings,
			"sudo jitgate denied shows who would have been refused; then sudo jitgate "
			"enforce --confirm-within PT2M");
	} else if (reverts_at) {
		findings_add(findings, "gate", VERDICT_WARNING,
			"the gate enforces on trial until %s: then nothing is refused again",
			moment_describe_utc(reverts_at, survey->cli->now, moment));
		findings_advise(findings,
			"log in once more, in another window; if that works: sudo jitgate confirm");
	} else {
		findings_add(findings, "gate", VERDICT_OK,
			"the gate stands, and refuses who was not granted");
	}
}

/* A gate without its daemon: grants still end, but nothing opens. */
static void tell_gate_left(const struct survey *survey, struct findings *findings)
{
	findings_add(findings, "gate", VERDICT_WARNING,
		"the gate stands without the agent: %s, grants end on time, and no new one is "
		"taken",
		survey->is_audit         ? "in mode audit it refuses nothing, once a trial is over"
			: survey->config ? "managed ports stay shut"
					 : "managed ports stay shut, unless it was in mode audit");
	findings_advise(findings,
		"start the agent; or, to take the gate away altogether: sudo jitgated "
		"--remove-gate");
}

static bool has_run_before(const struct survey *survey)
{
	struct stat status;

	return survey->config && stat(survey->config->state_directory, &status) == 0;
}

static void tell_silent(const struct survey *survey, struct findings *findings, bool gate_is_left)
{
	if (survey->agent_status != -ENOENT && survey->agent_status != -ECONNREFUSED &&
		survey->agent_status != -ENOTDIR) {
		findings_add(findings, "agent", VERDICT_PROBLEM,
			"the agent on %s does not answer: %s", survey->socket,
			strerror(-survey->agent_status));
		findings_advise(findings, "systemctl status jitgated");
		return;
	}
	if (survey->config_status == -ENOENT && !gate_is_left) {
		findings_add(findings, "agent", VERDICT_WARNING,
			"jitgated does not run, and there is no %s: nothing is guarded",
			survey->config_path);
		findings_advise(findings,
			"jitgate assess proposes a configuration; jitgate enroll joins a control "
			"plane");
		return;
	}
	if (survey->config_status == -ENOENT) {
		findings_add(findings, "agent", VERDICT_PROBLEM,
			"jitgated does not run, and starts no more: there is no %s any more",
			survey->config_path);
		findings_advise(findings,
			"put it back, then sudo systemctl start jitgated; the last good one is "
			"kept: sudo install -m 644 " CONFIG_STATE_DIRECTORY "/agent.conf %s",
			survey->config_path);
		return;
	}
	if (gate_is_left || has_run_before(survey)) {
		findings_add(findings, "agent", VERDICT_PROBLEM,
			"jitgated does not run, though it has before");
		findings_advise(findings,
			"sudo systemctl start jitgated; why it stopped: journalctl -u jitgated");
		return;
	}
	findings_add(
		findings, "agent", VERDICT_WARNING, "jitgated does not run: nothing is guarded");
	findings_advise(findings, "sudo systemctl enable --now jitgated");
}

void doctor_agent(const struct survey *survey, struct findings *findings)
{
	int r = survey->agent_status;
	bool gate_is_left;

	if (r == 0) {
		tell_running(survey, findings);
	} else if (r == VARLINK_ERROR || r == -EACCES || r == -EPERM) {
		findings_add(findings, "agent", VERDICT_UNKNOWN,
			"jitgated runs, but tells only root and the group jitgate how it is");
		findings_advise(findings, "sudo jitgate doctor");
	} else {
		gate_is_left = survey->gate_stands > 0;
		tell_silent(survey, findings, gate_is_left);
		if (gate_is_left)
			tell_gate_left(survey, findings);
	}
	if (survey->config_status != -ENOENT)
		tell_boot(survey, findings);
}
