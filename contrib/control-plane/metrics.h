/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats). A part of
 * the server that counts something registers a function, which writes it when it is asked for:
 *
 *	static void write_metrics(struct metrics_page *page, void *userdata)
 *	{
 *		metrics_begin(page, "jitgate_server_agents", "gauge", "Agents that wait");
 *		metrics_sample(page, (double)feed->n_waiting, NULL);
 *	}
 */

#include <stddef.h>

#include "cleanup.h"

#define METRICS_SOURCES_MAX 16

struct metrics_page;

typedef void metrics_write(struct metrics_page *page, void *userdata);

struct metrics {
	struct {
		metrics_write *write;
		void *userdata;
	} sources[METRICS_SOURCES_MAX];
	size_t n_sources;
};

/* Returns 0 or -E2BIG. */
int metrics_add(struct metrics *metrics, metrics_write *write, void *userdata);

/* Begins a metric: its samples follow. type: "gauge", "counter" or "summary". */
void metrics_begin(struct metrics_page *page, const char *name, const char *type, const char *help);

/* A sample of the metric; suffix "_sum" or the like may be NULL. Labels are pairs of name and value
 * ended by a NULL name. */
void metrics_sample_suffix(struct metrics_page *page, const char *suffix, double value, ...);
#define metrics_sample(page, value, ...) metrics_sample_suffix(page, NULL, value, __VA_ARGS__)

/* All of it (allocated). NULL: no memory. */
char *metrics_format(const struct metrics *metrics);
