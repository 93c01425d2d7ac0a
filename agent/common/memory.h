/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <stddef.h>

/*
 * How many of jansson's and OpenSSL's allocations have failed. These libraries, and libjose on
 * them, tell no want of memory from input that is wrong, and leave out of an object what they have
 * no memory for. Where the count has changed, what they said meanwhile is not to be relied on.
 */
size_t memory_n_failed(void);

/*
 * Gives back what only the start, or something rare, needed: free heap, and what is mapped of
 * programs and libraries and never written (most of it symbol tables, which linking went through).
 * What is needed again comes from the page cache.
 */
void memory_release(void);
