/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The documents of a VM, and the call that waits for more of them. */

#include "contrib/control-plane/feed/feed.h"

#define PAGE_DOCUMENTS_MAX 256
#define PAGE_BYTES_MAX (512 * 1024)

/* Adds one, in its place. Returns 0 or -ENOMEM. */
int feed_documents_add(
	struct feed_agent *agent, const char *jti, const char *text, int64_t revision);
void feed_documents_remove(struct feed_agent *agent, const char *jti);
void feed_document_done(struct feed_document *document);

/*
 * What comes after a revision: documents[first..end), cut where a page is full, but never within
 * a revision. Returns true where more follow.
 */
bool feed_documents_page(
	const struct feed_agent *agent, int64_t after, size_t *ret_first, size_t *ret_end);

/* Reads a cursor: the revision, or -1 where it means nothing in this store as it is. */
int64_t feed_cursor_parse(const char *cursor, const char *identity, int64_t revision);

/* Answers the agent's call with what is new; ends it without anything. */
void feed_documents_wake(struct feed *feed, struct feed_agent *agent);
void feed_documents_end(struct feed_agent *agent);

void feed_handle_documents(struct http_request *call, void *userdata);
