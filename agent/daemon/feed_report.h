/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* How the feed is, as jitgate-poll told last. */

#include <jansson.h>
#include <sys/types.h>

struct feed_report;

/*
 * Reads the parameters of ReportFeed, from the process pid, in place of *report. Returns 0; -EINVAL
 * and the parameter that is wrong; -ENOMEM.
 */
int feed_report_read(
	const json_t *parameters, pid_t pid, struct feed_report **report, const char **ret_wrong);
struct feed_report *feed_report_free(struct feed_report *report);

/* The Feed of the interface: what a jitgate-poll that runs has reported; otherwise state stopped,
 * for the configured url. Returns a new reference; NULL where there is neither (url NULL), or for
 * want of memory. */
json_t *feed_report_to_json(const struct feed_report *report, const char *url);
