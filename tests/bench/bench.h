/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the benchmarks share: the clock, the order of samples, other network namespaces. A benchmark
 * that can't go on says why and ends. */

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"

static inline double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

struct samples {
	double *values;
	size_t n;
	size_t n_allocated;
};

static inline void samples_add(struct samples *samples, double value)
{
	if (samples->n == samples->n_allocated) {
		samples->n_allocated = samples->n ? 2 * samples->n : 1024;
		samples->values = reallocarray(
			samples->values, samples->n_allocated, sizeof(*samples->values));
		if (!samples->values)
			err(EXIT_FAILURE, "samples");
	}
	samples->values[samples->n++] = value;
}

static inline int compare_doubles(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Sorts; a fraction of 0.5 is the median. */
static inline double samples_quantile(struct samples *samples, double fraction)
{
	if (samples->n == 0)
		errx(EXIT_FAILURE, "nothing was measured");
	qsort(samples->values, samples->n, sizeof(*samples->values), compare_doubles);
	return samples->values[(size_t)(fraction * (samples->n - 1) + 0.5)];
}

/* Enters a network namespace that ip-netns(8) named. */
static inline void namespace_enter(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		err(EXIT_FAILURE, "%s", path);
	close(fd);
}

static inline void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}
