/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* agent.conf: INI as systemd's, read whole or not at all. Each key is told in agent.conf.example.
 */

#include <stdint.h>

#include "agent/common/document.h"
#include "cleanup.h"

#define CONFIG_PORTS_MAX 256
#define CONFIG_PATH "/etc/jitgate/agent.conf"
#define CONFIG_STATE_DIRECTORY "/var/lib/jitgate"
#define CONFIG_RUNTIME_DIRECTORY "/run/jitgate"
#define CONFIG_LOG_DIRECTORY "/var/log/jitgate"

enum gate_mode {
	MODE_ENFORCE,
	MODE_AUDIT,
};

/* How long enforcing may be on trial, before the mode is audit again. */
#define TRIAL_SECONDS_MIN 1
#define TRIAL_SECONDS_MAX (INT64_C(24) * 3600)

enum on_stop {
	ON_STOP_KEEP,
	ON_STOP_REMOVE,
};

enum destination_nat {
	DESTINATION_NAT_AUTO,
	DESTINATION_NAT_YES,
	DESTINATION_NAT_NO,
};

/* A section [port NAME]. rule is the owner's policy for it. */
struct config_port {
	char *name;
	struct document_port rule;
	struct prefix *always_allow;
	size_t n_always_allow;
	enum sessions_action on_expiry; /* SESSIONS_KEEP or SESSIONS_KILL */
};

enum feed_kind {
	FEED_POLL,
	FEED_STATIC,
};

/* [feed]: where jitgate-poll gets documents. jitgated reads url alone, but checks it all. */
struct config_feed {
	char *url; /* a control plane's without "/" at its end; NULL: there is no feed */
	char *shown_url; /* the same without its query, which may be a secret */
	enum feed_kind kind;
	int64_t wait; /* seconds */
	int64_t interval; /* seconds */
	char *ca; /* paths; NULL where not set */
	char *certificate;
	char *key;
	char *token;
	char *state_directory;
};

struct config {
	char *text; /* the file's, as it was read */
	char *vm_id;
	enum gate_mode mode;
	char *trust;
	char *state_directory;
	char *runtime_directory;
	char *log_directory;
	char *socket;
	enum on_stop on_stop;
	enum destination_nat destination_nat;
	uint64_t max_grants;
	uint64_t log_bytes_max;
	struct config_feed feed;
	struct config_port *ports;
	size_t n_ports;
};

/*
 * Reads a configuration. Returns 0 and the configuration, owned by the caller; -errno, with
 * "file:line: what is wrong" in ret_error (allocated, owned by the caller; NULL for want of
 * memory). Unknown sections and keys, sections and keys given twice, and a [port] without number
 * are errors. A missing file is -ENOENT.
 *
 * Defaults: vm_id from /etc/machine-id (application specific, sd_id128_get_machine_app_specific),
 * protocol TCP, allowed_source_address_prefixes *, max_request_access_duration PT3H, on_expiry
 * keep.
 */
int config_load(const char *path, struct config **ret, char **ret_error);

/* The same of a text, of at most SETTINGS_FILE_BYTES_MAX; path is for messages. Lenient as
 * settings_parse(). */
int config_parse(
	const char *path, const char *text, bool lenient, struct config **ret, char **ret_error);

const char *config_mode_name(enum gate_mode mode);

struct config *config_free(struct config *config);
DEFINE_CLEANUP(struct config *, config_free)
