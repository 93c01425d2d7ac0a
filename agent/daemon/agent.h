/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The agent: everything that jitgated holds, and how its parts call one another.
 *
 *   service ──▶ submit ──▶ admission, policy          may it?      (pure)
 *                  │  └──▶ ledger                     remember it
 *                  └─────▶ access ──▶ gatekeeper ──▶ nft/          do it
 *   nft/ events ─▶ gatekeeper (repair), sessions (who was let in) ──▶ audit
 */

#include <systemd/sd-event.h>

#include "agent/common/config.h"
#include "agent/common/log.h"
#include "agent/common/varlink.h"
#include "agent/daemon/access.h"
#include "agent/daemon/audit.h"
#include "agent/daemon/caller.h"
#include "agent/daemon/clock.h"
#include "agent/daemon/grant.h"
#include "agent/daemon/ledger.h"
#include "agent/daemon/policy.h"
#include "agent/daemon/refusals.h"
#include "agent/daemon/registry.h"
#include "agent/daemon/trial.h"
#include "nft/forwarding.h"
#include "nft/gate.h"
#include "nft/nflog.h"
#include "nft/sockets.h"
#include "nft/tracking.h"
#include "nft/watch.h"

struct feed_report;
struct sessions;

struct agent {
	sd_event *event;
	const char *config_path;
	struct config *config;
	char *config_error; /* what was wrong when its file was last read, or NULL */
	struct trust *trust;
	struct document *policy; /* the control plane's, or NULL */
	struct document *stand_in; /* while a ledger is unread, for the policy that it may have */
	struct policies policies;

	struct registry *registry;
	struct access_map *access;
	struct sessions *sessions;
	uint64_t latest_usec; /* of the wall clock, ever seen */
	uint64_t told_usec; /* of it: ends up to then have been told of, as a ledger says */
	uint64_t started_usec;
	int64_t wall_ahead_usec; /* of CLOCK_BOOTTIME, when it was last looked at: shows a step */
	int64_t timed_ahead_usec; /* the same when grants' times were last worked out */
	char boot_id[33];

	bool trust_failed; /* the trust file could not be read: nothing is signed for, nothing
			      forgotten */

	uint64_t unread_usec; /* CLOCK_BOOTTIME: since when a ledger can't be read to its end, where
				 revocations may stand: no grant comes back or is admitted, nothing
				 is forgotten; 0: all is read */
	int unread_error; /* -errno: why, the first of them */

	struct refusals refusals;

	struct trial trial; /* mode.h: of enforcing, where the configuration says audit */

	struct ledger *ledger; /* in the state directory: survives a reboot */
	struct ledger *runtime; /* in the runtime directory: survives the daemon */
	json_t *owed; /* owed.h: to the first; NULL: nothing */
	uint64_t owed_usec; /* CLOCK_BOOTTIME: since when */
	struct audit *audit;

	struct gate *gate;
	struct watch *watch;
	struct forwarding *forwarding;
	struct nflog *nflog;
	struct sockets *sockets;
	struct tracking *tracking;
	enum gate_install gate_found; /* at start */
	bool gate_owned;
	bool gate_audits; /* as it was last installed */
	bool udp_to_keep; /* sessions that are older than the gate are not all in it yet */
	bool destination_nat;
	bool forwards; /* this host does, as the rules take it */
	struct vrfs vrfs; /* likewise */

	struct varlink_server *server;
	struct callers callers;
	struct feed_report *feed; /* as jitgate-poll told last, or NULL */
	struct varlink_call **subscribers;
	size_t n_subscribers;

	sd_event_source *watch_source;
	sd_event_source *forwarding_source;
	sd_event_source *nflog_source;
	sd_event_source *sockets_source;
	sd_event_source *clock_source;
	sd_event_source *legacy_source; /* iptables-legacy's lock file */
	sd_event_source *retry_source; /* the gate could not be installed: again, until it can */
	uint64_t retry_usec;
	uint64_t repaired_usec; /* CLOCK_BOOTTIME: when the gate was last put back */
	sd_event_source *compact_source; /* a ledger has grown */
	sd_event_source *time_source; /* notes the time while grants are live */
	sd_event_source *catch_up_source; /* the clock is behind until then */
	sd_event_source *unread_source; /* the ledgers are read again */
	sd_event_source *owed_source; /* what is owed is tried again */
	sd_event_source *trial_source; /* the end of the trial */
};

/*
 * Starts everything: the gate stands before anything else is read, the ledger's grants are in force
 * when it returns. Takes configuration and trust over, also on failure. trust NULL: the trust file
 * can't be read. Then the gate is shut all the same, and nobody's signature counts until a reload
 * can read it. config_error (may be NULL): what is wrong with the file, where the configuration is
 * the last good one instead. Returns 0; -errno after telling standard error.
 */
int agent_new(sd_event *event, const char *config_path, struct config *config, struct trust *trust,
	const char *config_error, struct agent **ret);

/*
 * Reads configuration and trust file, without touching anything. Returns 0; -errno with a sentence
 * in ret_error (allocated; owned by the caller): where it is the trust file that is wrong, the
 * configuration is returned nevertheless.
 */
int agent_load(const char *config_path, struct config **ret_config, struct trust **ret_trust,
	char **ret_error);

/* Stops: leaves the gate, or removes it where the configuration says on_stop = remove. */
struct agent *agent_free(struct agent *agent);
DEFINE_CLEANUP(struct agent *, agent_free)

/*
 * Reads configuration and trust file again, and judges live grants by them. Returns 0; -errno, all
 * being as before, with a sentence in ret_error (allocated; owned by the caller).
 */
int agent_reload(struct agent *agent, char **ret_error);

/* Keeps the configuration in force for a start at which its file is bad: agent/common/last_good.h.
 */
void agent_keep_config(const struct agent *agent);

/* While grants are live, the time is noted on disk every few minutes: a machine that loses power,
 * and whose clock then is behind, must not take them for younger than they are. To be called when
 * one has come. */
void agent_note_time(struct agent *agent);

/* The wall clock is behind what this agent has seen: nothing may be admitted. */
static inline bool agent_clock_is_behind(const struct agent *agent, const struct moment *now)
{
	return now->wall_usec < agent->latest_usec;
}

/* Tells where it is, and restores what that keeps from coming back once it is not. To be called
 * when the clock was set, and when a later time has become known. Returns 0 or -errno. */
int agent_await_clock(struct agent *agent);
