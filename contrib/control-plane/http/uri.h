/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A request's target (RFC 9112 section 3.2), taken apart and then decoded, in that order: an
 * encoded slash stays part of its segment. */

#include <stdbool.h>
#include <stddef.h>

#define URI_SEGMENTS_MAX 24
#define URI_PARAMETERS_MAX 16

struct uri_parameter {
	const char *name;
	const char *value; /* "" where there is no '=' */
};

/* All strings lie in one allocation. */
struct uri {
	char *path; /* as it came, without query */
	const char *segments[URI_SEGMENTS_MAX];
	size_t n_segments;
	struct uri_parameter parameters[URI_PARAMETERS_MAX];
	size_t n_parameters;
};

/*
 * Reads "/a/b%2Fc?x=1&y", or the same behind "http://host". Returns 0; -EINVAL, with what is wrong
 * as the rest of a sentence about the address in ret_reason (static): a bad escape, what decodes to
 * anything but printable UTF-8, a parameter given twice, too many of anything; -ENOMEM.
 */
int uri_parse(const char *target, struct uri *ret, const char **ret_reason);
void uri_done(struct uri *uri);

/* The value of a query parameter, its name compared without regard to case; NULL. */
const char *uri_parameter(const struct uri *uri, const char *name);

/* True where the segments fit a pattern: "/v1/vms/{vm}/documents". */
bool uri_matches(const struct uri *uri, const char *pattern);

/* What stands in place of "{name}" in a pattern that matches; NULL where it has no such name. */
const char *uri_segment(const struct uri *uri, const char *pattern, const char *name);
