/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What this agent knows by id (jti): the documents it has admitted, the grants among them, and the
 * ids that were revoked, also where their grant has not come yet.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/daemon/grant.h"
#include "cleanup.h"

#define DOCUMENT_DIGEST_BYTES 32

/* Grants that have ended are remembered for people to look at, this many. */
#define REGISTRY_ENDED_MAX 1000
/* Revoked ids whose grant never came. */
#define REGISTRY_REVOKED_MAX 100000

struct registry_entry {
	char *id;
	bool has_document;
	enum document_kind kind;
	uint8_t digest[DOCUMENT_DIGEST_BYTES]; /* document_digest() */
	bool durable; /* a revocation or a policy: survives a reboot */
	struct grant *grant; /* owned; NULL unless it is a grant that was admitted */
	bool revoked;
	bool unrecorded; /* the revocation could be written nowhere */
	/* Its sessions are to be ended, which a daemon before this one may not have come to; and
	 * the grant that let them in, owned, where it is known. */
	bool kill_sessions;
	struct grant *let_in;
	bool begun; /* it was scheduled, and its time has come */
	/* What a daemon before this one had no time to tell of a grant (untold.h): that it was
	 * admitted; that it is in force; that it was revoked, and why, owned. */
	bool untold_admission;
	bool untold_begin;
	char *untold_end;
	bool told_expiry; /* and what it told, and had no time to note: that it has ended */
};

struct registry;

int registry_new(struct registry **ret);
struct registry *registry_free(struct registry *registry);
DEFINE_CLEANUP(struct registry *, registry_free)

struct registry_entry *registry_find(const struct registry *registry, const char *id);

/* The entry of that id, made where there is none. Returns 0 or -ENOMEM. */
int registry_get(struct registry *registry, const char *id, struct registry_entry **ret);

/* Gives the entry its grant, and the grant a tag. Takes the grant over on success. Returns 0 or
 * -ENOMEM. */
int registry_add_grant(
	struct registry *registry, struct registry_entry *entry, struct grant *grant);

/* Forgets an entry and its live grant: what was begun could not be done. */
void registry_drop(struct registry *registry, struct registry_entry *entry);

/* The live grant of that tag, or NULL. */
struct grant *registry_grant_by_tag(const struct registry *registry, uint32_t tag);

/*
 * To be called when a grant has ended: its tag may be used again. Of the grants that ended, those
 * past REGISTRY_ENDED_MAX are forgotten, oldest first, once their time is over: a revoked one must
 * stay known until then. latest_seconds is the latest time that is noted: a clock that is set back
 * from what is not noted would have it come again.
 */
void registry_grant_ended(struct registry *registry, struct grant *grant, int64_t latest_seconds);

/* Calls back for each entry; a negative return ends it and is returned. */
int registry_foreach(struct registry *registry,
	int (*callback)(struct registry_entry *entry, void *userdata), void *userdata);

size_t registry_count(const struct registry *registry); /* entries */
size_t registry_count_live(const struct registry *registry); /* grants not ended */
size_t registry_count_prefixes(const struct registry *registry); /* of these, at their ports */
/* At a port of both protocols each counts twice: so it does to the kernel. */
size_t document_count_prefixes(const struct document *document);
size_t registry_count_revoked(const struct registry *registry); /* revoked, without a grant */
void registry_mark_revoked(struct registry *registry, struct registry_entry *entry);
