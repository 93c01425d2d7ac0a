/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A grant from its admission to its end, and what of it the access map covers. */

#include <systemd/sd-event.h>

#include "agent/common/document.h"
#include "agent/daemon/access.h"
#include "agent/daemon/clock.h"

enum grant_state {
	GRANT_SCHEDULED,
	GRANT_ACTIVE,
	GRANT_EXPIRED,
	GRANT_REVOKED,
};

enum grant_origin {
	GRANT_SIGNED,
	GRANT_LOCAL, /* by local root: not signed, gone at reboot */
};

struct grant {
	struct document *document;
	enum grant_origin origin;
	enum grant_state state;
	char *kid; /* of the key that signed it; NULL: local */
	/* CLOCK_BOOTTIME: when it begins (0: at once) and when it ends. */
	uint64_t starts_usec;
	uint64_t deadline_usec;
	/* Its covers' tag in the access map: no two grants that are alive have the same. */
	uint32_t tag;
	bool durable; /* survives a reboot */
	bool covered; /* the access map has its covers */
	bool withdrawn; /* its admission failed, and its covers could not be taken back yet */
	bool outdated; /* the clock was set, and its times could not be worked out anew yet */
	uint64_t n_connections;
	/* When it begins, then when it ends. */
	sd_event_source *timer;
};

/* Takes the document over. Returns 0 or -ENOMEM (the document is then still the caller's). */
int grant_new(struct document *document, enum grant_origin origin, struct grant **ret);
struct grant *grant_free(struct grant *grant);
DEFINE_CLEANUP(struct grant *, grant_free)

const char *grant_state_name(enum grant_state state);
const char *grant_origin_name(enum grant_origin origin);
bool grant_is_live(const struct grant *grant); /* scheduled or active */

/* True where it is to begin later than at that time (Unix time, seconds). */
bool grant_is_ahead(const struct document *document, int64_t seconds);

/* Sets both times from the document. What ends earlier already stays: a deadline is never moved
 * back. */
void grant_set_times(struct grant *grant, const struct moment *now);

/* Its covers: each prefix at each port, protocol and family. Owned by the caller. */
int grant_covers(const struct grant *grant, struct access **ret, size_t *ret_n);

/* True where the document asks for the source at the port: protocol is PROTOCOL_TCP or
 * PROTOCOL_UDP. */
bool grant_includes(const struct grant *grant, uint8_t family, const struct address *source,
	uint16_t port, unsigned protocol);
