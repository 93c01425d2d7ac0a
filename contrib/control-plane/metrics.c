/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>

#include "contrib/control-plane/metrics.h"

struct metrics_page {
	FILE *file;
	const char *name;
};

int metrics_add(struct metrics *metrics, metrics_write *write, void *userdata)
{
	if (metrics->n_sources == METRICS_SOURCES_MAX)
		return -E2BIG;
	metrics->sources[metrics->n_sources].write = write;
	metrics->sources[metrics->n_sources++].userdata = userdata;
	return 0;
}

void metrics_begin(struct metrics_page *page, const char *name, const char *type, const char *help)
{
	page->name = name;
	fprintf(page->file, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_label_value(FILE *file, const char *value)
{
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			fputc('\\', file);
		if (*value == '\n')
			fputs("\\n", file);
		else
			fputc(*value, file);
	}
}

void metrics_sample_suffix(struct metrics_page *page, const char *suffix, double value, ...)
{
	va_list labels;
	const char *name;
	char before = '{';

	fprintf(page->file, "%s%s", page->name, suffix ? suffix : "");
	va_start(labels, value);
	while ((name = va_arg(labels, const char *))) {
		fprintf(page->file, "%c%s=\"", before, name);
		write_label_value(page->file, va_arg(labels, const char *));
		fputc('"', page->file);
		before = ',';
	}
	va_end(labels);
	fprintf(page->file, "%s %.17g\n", before == ',' ? "}" : "", value);
}

char *metrics_format(const struct metrics *metrics)
{
	struct metrics_page page = { 0 };
	char *text = NULL;
	size_t n_bytes;

	page.file = open_memstream(&text, &n_bytes);
	if (!page.file)
		return NULL;
	for (size_t i = 0; i < metrics->n_sources; i++)
		metrics->sources[i].write(&page, metrics->sources[i].userdata);
	if (fclose(page.file) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
