/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What agents take and tell.
 *
 *   store ──watch──▶ documents of each VM, by revision ──▶ the call that its agent holds open
 *   agent ──events──▶ activity log and progress of grants, in one transaction ──▶ acknowledged
 *
 * An agent's cursor is "{identity of the store}-{revision}": it has all that was signed for it up
 * to that revision. Of one revision a policy comes before grants, and grants before revocations.
 */

#include <systemd/sd-event.h>

#include "contrib/control-plane/activity/activity.h"
#include "contrib/control-plane/jit/jit.h"
#include "contrib/control-plane/state/table.h"
#include "contrib/control-plane/store/store.h"

#define FEED_WAIT_SECONDS_MAX 300
#define FEED_EVENTS_MAX 1000
#define FEED_EVENTS_BYTES_MAX (1024 * 1024)

struct server;
struct metrics_page;

struct feed_document {
	int64_t revision;
	unsigned rank; /* within its revision */
	char *jti; /* "policy" for a policy */
	char *text;
};

/* A VM that has documents or an agent. */
struct feed_agent {
	char *key; /* the VM's id in lower case; first: state/table.h */
	char *id; /* as it was enrolled; NULL: it was not */
	struct feed_document *documents; /* by revision, and rank */
	size_t n_documents, n_documents_allocated;
	struct http_request *held;
	int64_t held_after;
	bool is_touched; /* by the revision that is being told */
	int64_t last_contact; /* µs; 0: none since the server started */
	char version[32]; /* of the agent, as it says */
	uint64_t events_full_usec; /* when it may tell EVENT_BYTES_AT_ONCE again; monotonic */
};

struct feed_credential {
	char *key; /* SHA-256; first: state/table.h */
	struct feed_agent *agent;
	int64_t enrolled; /* µs */
	int64_t mod_revision;
};

struct feed_options {
	sd_event *event;
	struct store *store;
	struct leases *leases;
	struct jit *jit;
	struct activity *activity;
	struct server *server; /* to refuse credentials */
	const char *url;
};

struct feed {
	struct feed_options options;
	struct table agents;
	struct table credentials;
	struct store_watch *documents_watch;
	struct store_watch *credentials_watch;
	/* Grants that were handed out, of which the store does not know yet: delivered.c. */
	char **delivered;
	size_t n_delivered, n_delivered_allocated;
	bool is_delivering;
};

/* Begins to watch. Returns 0 or -errno. */
int feed_new(const struct feed_options *options, struct feed **ret);

/* After the HTTP server and before the store. */
struct feed *feed_free(struct feed *feed);
DEFINE_CLEANUP(struct feed *, feed_free)

/* For who shows no agent's credential. */
#define FEED_REFUSAL \
	"this is no credential of an agent, or it has been replaced: enroll the VM anew (jitgate " \
	"enroll)"

/* True for the SHA-256 of an agent's credential. */
bool feed_knows(const struct feed *feed, const char *hash);

/* The agent that calls, of the VM that the path names; NULL where that is answered. */
struct feed_agent *feed_authenticate(struct feed *feed, struct http_request *call);

/* The VM of a key, made where there is none; NULL: no memory. */
struct feed_agent *feed_ensure_agent(struct feed *feed, const char *vm_key);

/* Notes that a grant has been handed out. */
void feed_note_delivered(struct feed *feed, const char *grant);

void feed_handle_events(struct http_request *call, void *userdata);
void feed_handle_enroll(struct http_request *call, void *userdata);
void feed_handle_vms(struct http_request *call, void *userdata);

/* For metrics_add(): agents that are enrolled, that hold a call, and what waits to be noted. */
void feed_write_metrics(struct metrics_page *page, void *userdata);

/* userdata is the struct feed. */
extern const struct http_route feed_routes[];
