/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "agent/cli/table.h"
#include "agent/common/text.h"

#define TABLE_COLUMNS_MAX 16
#define COLUMN_GAP 2

struct cell {
	enum style style;
	char *text;
};

struct table {
	const char *headings[TABLE_COLUMNS_MAX];
	size_t n_columns;
	struct cell *cells;
	size_t n_cells;
	size_t n_capacity;
	bool failed;
};

int table_new(const char *const *headings, struct table **ret)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return -ENOMEM;
	while (headings[table->n_columns] && table->n_columns < TABLE_COLUMNS_MAX) {
		table->headings[table->n_columns] = headings[table->n_columns];
		table->n_columns++;
	}
	*ret = table;
	return 0;
}

struct table *table_free(struct table *table)
{
	if (!table)
		return NULL;

	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i].text);
	free(table->cells);
	free(table);
	return NULL;
}

static int table_grow(struct table *table)
{
	size_t n_capacity = table->n_capacity ? 2 * table->n_capacity : 64;
	struct cell *cells;

	if (table->n_cells < table->n_capacity)
		return 0;
	cells = reallocarray(table->cells, n_capacity, sizeof(*cells));
	if (!cells)
		return -ENOMEM;
	table->cells = cells;
	table->n_capacity = n_capacity;
	return 0;
}

void table_add(struct table *table, enum style style, const char *format, ...)
{
	char *text;
	va_list list;
	int n;

	va_start(list, format);
	n = vasprintf(&text, format, list);
	va_end(list);
	if (n < 0 || table_grow(table) < 0) {
		if (n >= 0)
			free(text);
		table->failed = true;
		return;
	}
	text_make_printable(text);
	table->cells[table->n_cells++] = (struct cell){ style, text };
}

/* Padding is owed until something follows, so that no line ends in spaces. */
static void cell_print(
	const struct cli *cli, enum style style, const char *text, size_t width, size_t *n_owed)
{
	if (text[0]) {
		printf("%*s%s%s%s", (int)*n_owed, "", style_begin(cli, style), text,
			style_end(cli, style));
		*n_owed = 0;
	}
	*n_owed += width - text_width(text) + COLUMN_GAP;
}

static void row_print(const struct table *table, const struct cli *cli, const struct cell *cells,
	const size_t *widths)
{
	size_t n_owed = 0;

	for (size_t i = 0; i < table->n_columns; i++)
		cell_print(cli, cells[i].style, cells[i].text, widths[i], &n_owed);
	putchar('\n');
}

static void headings_print(const struct table *table, const struct cli *cli, const size_t *widths)
{
	size_t n_owed = 0;

	for (size_t i = 0; i < table->n_columns; i++)
		cell_print(cli, STYLE_HEADING, table->headings[i], widths[i], &n_owed);
	putchar('\n');
}

int table_print(const struct table *table, const struct cli *cli)
{
	size_t widths[TABLE_COLUMNS_MAX] = { 0 };
	bool headed = false;

	if (table->failed)
		return -ENOMEM;

	for (size_t i = 0; i < table->n_columns; i++) {
		widths[i] = text_width(table->headings[i]);
		headed = headed || widths[i] > 0;
	}
	for (size_t i = 0; i < table->n_cells; i++) {
		size_t *width = &widths[i % table->n_columns];
		size_t n = text_width(table->cells[i].text);

		if (n > *width)
			*width = n;
	}

	if (headed)
		headings_print(table, cli, widths);
	for (size_t i = 0; i + table->n_columns <= table->n_cells; i += table->n_columns)
		row_print(table, cli, &table->cells[i], widths);
	return 0;
}
