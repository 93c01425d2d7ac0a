/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Columns that line up. The last one is not padded. */

#include "agent/cli/output.h"

struct table;

/* headings ends with NULL, one for each column. */
int table_new(const char *const *headings, struct table **ret);
struct table *table_free(struct table *table);
DEFINE_CLEANUP(struct table *, table_free)

/* The next cell of the row, or the first of the next row. What fails is told by table_print(). */
void table_add(struct table *table, enum style style, const char *format, ...) _printf_(3, 4);

/* Prints the rows under the headings, unless these are all empty. Returns 0 or -ENOMEM. */
int table_print(const struct table *table, const struct cli *cli);
