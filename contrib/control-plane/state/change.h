/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A change: a transaction that is built from what memory says, and built anew where the store was
 * ahead of it.
 *
 *   build ──▶ leases at hand? ──▶ commit ──▶ done
 *     ▲         obtain them         │
 *     └──── memory knows more ◀─────┘ conflict
 *
 * By the time a conflict is told, watchers have been told what caused it.
 */

#include <jansson.h>
#include <stdint.h>

#include "cleanup.h"
#include "contrib/control-plane/state/leases.h"
#include "contrib/control-plane/store/store.h"

#define CHANGE_ATTEMPTS_MAX 64

struct change;

/*
 * Fills in what is to be done. Returns 0; a positive answer of the builder's own, with which the
 * change is over without anything done; -errno.
 */
typedef int change_build(struct change *change, void *userdata);

/* error: 0, done at that revision; what build returned; -EBUSY where others were always first;
 * another -errno. */
typedef void change_done(int error, int64_t revision, void *userdata);

/* done is called once, and may be before this returns. */
void change_begin(struct store *store, struct leases *leases, change_build *build,
	change_done *done, void *userdata);

/* For builders; a key at most once in each. They return 0, -ENOMEM, -E2BIG (a value or a
 * transaction is larger than a store takes). */
int change_compare(struct change *change, int64_t mod_revision, const char *key, ...)
	_printf_(3, 4);

/* value is consumed, also on failure; NULL gives -ENOMEM. until: when it may go, in seconds of
 * the wall clock; 0: never. */
int change_put(struct change *change, json_t *value, int64_t until, const char *key, ...)
	_printf_(4, 5);
int change_put_text(struct change *change, const char *value, int64_t until, const char *key, ...)
	_printf_(4, 5);
int change_delete(struct change *change, const char *key, ...) _printf_(2, 3);
