/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Gives back what only the start, or something rare, needed: free heap, and what is mapped of
 * programs and libraries and never written (most of it symbol tables, which linking went through).
 * What is needed again comes from the page cache.
 */
void memory_release(void);
