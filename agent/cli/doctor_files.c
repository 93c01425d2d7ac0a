/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Configuration, keys, directories, the record. */

#include <errno.h>
#include <libgen.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/cli/chain.h"
#include "agent/cli/doctor.h"
#include "agent/cli/input.h"
#include "agent/cli/output.h"
#include "agent/common/users.h"

#define FREE_BYTES_MIN (UINT64_C(16) * 1024 * 1024)
#define VERIFIED_BYTES_MAX (INT64_C(4) * 1024 * 1024)
#define RECORD_BYTES_MAX (128 * 1024) /* agent/daemon/audit_file.h */
#define GRANTS_FULL_PERCENT 90

#define FEED_TOKEN "/etc/jitgate/feed-token"
#define FEED_KEY "/etc/jitgate/feed-key.pem"

static void tell_config(const struct survey *survey, struct findings *findings)
{
	const char *error = member_text(survey->status, "configurationError", NULL);
	const char *told = member_text(survey->status, "configFile", "");
	bool enforces = strcmp(member_text(survey->status, "mode", ""), "enforce") == 0 &&
		!json_object_get(survey->status, "revertsAt");

	if (survey->config_status == -ENOENT && strcmp(survey->config_path, told) == 0) {
		findings_add(findings, "configuration", VERDICT_PROBLEM,
			"there is no %s any more: the agent goes by what it has read, and does not "
			"start again without it",
			survey->config_path);
		/* What is kept is the file as it was read: enforcing may have begun since. */
		findings_advise(findings,
			"put it back (the last good one is kept: sudo install -m "
			"644 " CONFIG_STATE_DIRECTORY
			"/agent.conf %s%s), then sudo systemctl reload "
			"jitgated",
			survey->config_path, enforces ? " && sudo jitgate enforce" : "");
		return;
	}
	if (error) {
		findings_add(findings, "configuration", VERDICT_PROBLEM,
			"%s: the agent goes by what was last good", error);
		findings_advise(findings,
			"correct it (sudo jitgated -n checks it), then sudo systemctl reload "
			"jitgated");
		return;
	}
	switch (survey->config_status) {
	case 0:
		findings_add(
			findings, "configuration", VERDICT_OK, "%s is sound", survey->config_path);
		return;
	case -ENOENT:
		if (survey->agent_status != 0)
			return; /* told with the agent */
		findings_add(findings, "configuration", VERDICT_UNKNOWN,
			"there is no %s: the agent runs with another configuration",
			survey->config_path);
		findings_advise(findings, "sudo jitgate doctor --config FILE");
		return;
	case -EACCES:
	case -EPERM:
		findings_add(findings, "configuration", VERDICT_UNKNOWN, "%s is not yours to read",
			survey->config_path);
		findings_advise(findings, "sudo jitgate doctor");
		return;
	}
	findings_add(findings, "configuration", VERDICT_PROBLEM, "%s",
		survey->config_error ? survey->config_error : strerror(-survey->config_status));
	findings_advise(findings, "correct it (sudo jitgated -n checks it): %s",
		survey->agent_status == 0 ? "what runs keeps the configuration it has"
					  : "the agent starts with the last good one at best");
}

static void tell_trust(const struct survey *survey, struct findings *findings)
{
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL;
	const char *path = survey->config->trust;
	int r = trust_load(path, &trust, &error);

	if (r == -EACCES || r == -EPERM) {
		findings_add(findings, "trust", VERDICT_UNKNOWN, "%s is not yours to read", path);
		findings_advise(findings, "sudo jitgate doctor");
	} else if (r < 0) {
		findings_add(
			findings, "trust", VERDICT_PROBLEM, "%s", error ? error : strerror(-r));
		findings_advise(findings,
			"put the public keys of who may grant there (jitgate key public, or "
			"jitgate "
			"enroll): until then only local root can open a port");
	} else if (trust->n_keys == 0) {
		findings_add(findings, "trust", VERDICT_WARNING,
			"%s has no key: only local root can open a port", path);
		findings_advise(findings,
			"put the public keys of who may grant there (jitgate key "
			"public, or jitgate enroll)");
	} else {
		findings_add(findings, "trust", VERDICT_OK, "%s has %zu key%s, first \"%s\"", path,
			trust->n_keys, trust->n_keys == 1 ? "" : "s", trust->keys[0].kid);
	}
}

/* Whom jitgated's service runs as; NULL where there is none. */
static const struct passwd *agent_user(void)
{
	return getpwnam(AGENT_USER);
}

/* In a sticky directory nobody replaces what is another's. */
static bool others_may_change(const struct stat *status, const struct passwd *user)
{
	if (status->st_uid != 0 && !(user && status->st_uid == user->pw_uid))
		return true;
	if (S_ISDIR(status->st_mode) && (status->st_mode & S_ISVTX))
		return false;
	return (status->st_mode & S_IWOTH) || ((status->st_mode & S_IWGRP) && status->st_gid != 0);
}

/* user: whose it may be besides root, and is to be; NULL: nobody's. Returns true where it told of
 * something wrong. */
static bool tell_permissions_of(
	struct findings *findings, const char *path, bool is_secret, const struct passwd *user)
{
	struct stat status;

	if (!path || stat(path, &status) < 0)
		return false;
	if (others_may_change(&status, user)) {
		findings_add(findings, "permissions", VERDICT_PROBLEM,
			"%s can be changed by others than %s: they could %s", path,
			user ? user->pw_name : "root",
			is_secret ? "cut off the feed" : "open every port");
		findings_advise(findings, "sudo chown %s %s && sudo chmod go-w %s",
			user ? user->pw_name : "root", path, path);
		return true;
	}
	if (is_secret && (status.st_mode & S_IROTH)) {
		findings_add(findings, "permissions", VERDICT_PROBLEM,
			"%s is a secret that everyone here can read", path);
		findings_advise(findings, "sudo chmod o-r %s, and have a new one made", path);
		return true;
	}
	return false;
}

/* systemd hands over what is where it belongs, root's own; what is elsewhere jitgate-poll reads. */
static bool tell_permissions_of_secret(
	struct findings *findings, const char *path, const char *where_it_belongs)
{
	if (!path)
		return tell_permissions_of(findings, where_it_belongs, true, NULL);
	return tell_permissions_of(findings, path, true, getpwnam(POLL_USER));
}

/* What its service can't read does not count at its next start: it goes by what was last good, or
 * does not start. */
static bool tell_unreadable(struct findings *findings, const char *path)
{
	const struct passwd *user = agent_user();
	struct stat status;

	if (!user || geteuid() != 0 || stat(path, &status) < 0 || !user_is_denied(user, path))
		return false;
	findings_add(findings, "permissions", VERDICT_PROBLEM,
		"%s can't be read by the user " AGENT_USER
		", whom jitgated's service runs as: it will not count",
		path);
	if (status.st_mode & S_IROTH)
		findings_advise(findings,
			"let that user into the directories above it (namei -l %s shows them)",
			path);
	else
		findings_advise(findings, "sudo chmod a+r %s", path);
	return true;
}

/* Who may replace a file in a directory may change it. */
static bool tell_permissions_around(struct findings *findings, const char *path)
{
	char directory[4096];
	bool is_wrong = tell_permissions_of(findings, path, false, NULL);

	snprintf(directory, sizeof(directory), "%s", path);
	return tell_permissions_of(findings, dirname(directory), false, NULL) || is_wrong;
}

static void tell_permissions(const struct survey *survey, struct findings *findings)
{
	const struct config *config = survey->config;
	bool wrong = tell_permissions_around(findings, survey->config_path);

	wrong |= tell_permissions_of(findings, config->trust, false, NULL);
	wrong |= tell_permissions_of_secret(findings, config->feed.token, FEED_TOKEN);
	wrong |= tell_permissions_of_secret(findings, config->feed.key, FEED_KEY);
	wrong |= tell_permissions_of(findings, config->state_directory, false, agent_user());
	wrong |= tell_unreadable(findings, survey->config_path);
	wrong |= tell_unreadable(findings, config->trust);
	if (!wrong)
		findings_add(findings, "permissions", VERDICT_OK,
			"configuration, keys and state are for nobody else to change");
}

/* Until it is read nobody knows what was revoked. */
static void tell_ledger(const struct survey *survey, struct findings *findings)
{
	const char *error = member_text(survey->status, "ledgerError", NULL);
	const char *directory = survey->config->state_directory;

	if (!error)
		return;
	findings_add(findings, "ledger", VERDICT_PROBLEM,
		"the ledger in %s can't be read to its end: %s: only local root can open a port",
		directory, error);
	findings_advise(findings,
		"is the disk well, and all there the agent's own (sudo chown -R " AGENT_USER
		" %s)? Then sudo jitgate reload. Where the ledger is lost: stop jitgated, remove "
		"it, start jitgated; grants and revocations are then submitted anew",
		directory);
}

static void tell_disk(
	struct findings *findings, const char *path, const char *what, bool agent_runs)
{
	struct statvfs disk;
	uint64_t n_free;

	if (statvfs(path, &disk) < 0) {
		if (!agent_runs || errno != ENOENT)
			return; /* made at the first start */
		findings_add(findings, "disk", VERDICT_PROBLEM,
			"%s is not there: %s will not outlive a restart", path, what);
		findings_advise(findings,
			"make it, the agent's own (sudo install -d -o " AGENT_USER
			" -m 700 %s), or mount what it is on; then sudo systemctl restart jitgated",
			path);
		return;
	}
	n_free = (uint64_t)disk.f_bavail * disk.f_frsize;
	if (!(disk.f_flag & ST_RDONLY) && n_free >= FREE_BYTES_MIN) {
		findings_add(findings, "disk", VERDICT_OK, "%s has room for %s", path, what);
		return;
	}
	if (disk.f_flag & ST_RDONLY) {
		findings_add(findings, "disk", VERDICT_PROBLEM,
			"%s can't be written to: %s will not outlive a restart", path, what);
		findings_advise(findings,
			"have its file system writable (findmnt -T %s shows it); grants work "
			"meanwhile (durable: false)",
			path);
	} else {
		findings_add(findings, "disk", VERDICT_WARNING,
			"%s has %llu KiB left: soon %s will not outlive a restart", path,
			(unsigned long long)(n_free / 1024), what);
		findings_advise(
			findings, "make room there; grants work meanwhile (durable: false)");
	}
}

/* Returns 0; CHAIN_BROKEN; -errno. A last line without its end is being written. */
static int verify(const char *path, struct chain *chain)
{
	_cleanup_(line_reader_done) struct line_reader reader = {};
	char *text;
	size_t n_bytes;
	FILE *file;
	int r;

	r = input_open(path, &file);
	if (r < 0)
		return r;
	r = line_reader_init(&reader, file, RECORD_BYTES_MAX);
	while (r == 0) {
		r = line_reader_next(&reader, &text, &n_bytes);
		if (r <= 0)
			break;
		r = reader.ended ? chain_add(chain, text, n_bytes) : 0;
	}
	input_close(file);
	return r;
}

/* The directory is the agent's own, as systemd makes it. Returns true where it told of something
 * wrong. */
static bool tell_audit_unwritable(
	struct findings *findings, const char *directory, const char *path, const struct stat *file)
{
	struct statvfs disk;
	struct stat status;

	if (statvfs(directory, &disk) == 0 && (disk.f_flag & ST_RDONLY)) {
		findings_add(findings, "audit", VERDICT_PROBLEM,
			"%s can't be written to: records go to the journal alone, and not to the "
			"control plane",
			directory);
		findings_advise(findings,
			"have its file system writable (findmnt -T %s shows it), then sudo "
			"systemctl restart jitgated",
			directory);
		return true;
	}
	if (stat(directory, &status) < 0 || status.st_uid == 0 || status.st_uid == file->st_uid)
		return false;
	findings_add(findings, "audit", VERDICT_PROBLEM,
		"%s is not the agent's own, as %s is: records go to the journal alone, and not to "
		"the control plane",
		path, directory);
	findings_advise(findings, "sudo chown --reference=%s %s && sudo systemctl restart jitgated",
		directory, path);
	return true;
}

static void tell_audit(const struct survey *survey, struct findings *findings)
{
	char path[4096];
	struct chain chain = {};
	struct stat status;
	int r;

	snprintf(path, sizeof(path), "%s/audit.jsonl", survey->config->log_directory);
	if (stat(path, &status) < 0)
		return; /* there is none yet, or it is not for us */
	if (!S_ISREG(status.st_mode)) {
		findings_add(findings, "audit", VERDICT_PROBLEM, "%s is not a file", path);
		findings_advise(findings,
			"remove it: the agent makes a new one; what it has recorded the journal "
			"has too (journalctl -u jitgated)");
		return;
	}
	if (tell_audit_unwritable(findings, survey->config->log_directory, path, &status))
		return;
	if (status.st_size > VERIFIED_BYTES_MAX) {
		findings_add(findings, "audit", VERDICT_UNKNOWN,
			"%s is too long to be verified in passing", path);
		findings_advise(findings, "sudo jitgate audit verify");
		return;
	}
	r = verify(path, &chain);
	if (r == CHAIN_BROKEN) {
		findings_add(findings, "audit", VERDICT_PROBLEM,
			"%s is not as it was written: line %zu %s", path, chain.n_lines + 1,
			chain.problem);
		findings_advise(findings,
			"sudo jitgate audit verify; the journal has the records "
			"too (journalctl -u jitgated)");
	} else if (r < 0) {
		findings_add(findings, "audit", VERDICT_UNKNOWN, "%s can't be read: %s", path,
			strerror(-r));
		findings_advise(findings, "sudo jitgate doctor");
	} else {
		findings_add(findings, "audit", VERDICT_OK, "%s is intact: %zu record%s", path,
			chain.n_lines, chain.n_lines == 1 ? "" : "s");
	}
}

static void tell_grants(const struct survey *survey, struct findings *findings)
{
	const json_t *grants = json_object_get(survey->status, "grants");
	json_int_t n = member_integer(grants, "active") + member_integer(grants, "scheduled");
	json_int_t n_max = (json_int_t)survey->config->max_grants;

	if (n < 0 || n_max <= 0 || n < n_max * GRANTS_FULL_PERCENT / 100)
		return;
	findings_add(findings, "grants", VERDICT_WARNING,
		"%lld of at most %lld grants are live: soon new ones are refused (capacity)",
		(long long)n, (long long)n_max);
	findings_advise(
		findings, "raise max_grants in %s, or let grants be shorter", survey->config_path);
}

void doctor_files(const struct survey *survey, struct findings *findings)
{
	tell_config(survey, findings);
	if (!survey->config)
		return;
	tell_trust(survey, findings);
	tell_permissions(survey, findings);
	tell_ledger(survey, findings);
	tell_disk(findings, survey->config->state_directory, "grants and revocations",
		survey->agent_status == 0);
	tell_audit(survey, findings);
	tell_grants(survey, findings);
}
