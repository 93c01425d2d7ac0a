/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * How far jitgate-poll has come, in a small file that survives it: which documents of the feed the
 * agent has answered, and which events the control plane has. What is lost with it is asked for and
 * sent again.
 */

#include <stdbool.h>
#include <stdint.h>

#define CURSOR_BYTES_MAX 128

struct cursor {
	/* Of the feed at that URL; another feed's means nothing. Empty: ask for all. */
	char documents[CURSOR_BYTES_MAX + 1];
	/* One of them was refused for its signature: with another trust file, all count again. */
	bool disbelieved;
	uint64_t events; /* sequence number of the last that was acknowledged */
	bool has_events;
};

/* True for 1 to CURSOR_BYTES_MAX bytes of printable text. */
bool cursor_is_valid(const char *text);

/*
 * Reads directory/cursor.json. Returns 0; a cursor that is empty, and 1, where there is none for
 * this feed and VM; -errno, and an empty cursor, where it can't be read or is damaged.
 */
int cursor_load(const char *directory, const char *url, const char *vm_id, struct cursor *ret);

/* Writes it, synced, in place of what was there. Returns 0 or -errno. */
int cursor_save(
	const char *directory, const char *url, const char *vm_id, const struct cursor *cursor);
