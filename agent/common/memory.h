/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Where jansson, or libjose by it, finds no memory, the program says so and ends with status 1:
 * what is to last is on disk or in the kernel at any moment. What it has printed is written out,
 * and memory_on_end called (NULL: nothing is), for what must not stay behind.
 */
extern void (*memory_on_end)(void);

/*
 * How many of OpenSSL's allocations have failed. It, and libjose on it, tell no want of memory from
 * input that is wrong. Where the count has changed, what they said meanwhile is not to be relied
 * on.
 */
size_t memory_n_failed(void);

/* True where not even a page is to be had now: libjose's own allocations are not counted. */
bool memory_is_gone(void);

/*
 * Gives back what only the start, or something rare, needed: free heap, and what is mapped of
 * programs and libraries and never written (most of it symbol tables, which linking went through).
 * What is needed again comes from the page cache.
 */
void memory_release(void);
