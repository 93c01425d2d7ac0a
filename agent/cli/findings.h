/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What `jitgate doctor` has found, one thing after the other. */

#include <jansson.h>

#include "agent/cli/command.h"
#include "cleanup.h"

enum verdict {
	VERDICT_OK,
	VERDICT_UNKNOWN, /* could not be looked at, or not be decided by looking */
	VERDICT_WARNING,
	VERDICT_PROBLEM,
};

struct findings;

int findings_new(struct findings **ret);
struct findings *findings_free(struct findings *findings);
DEFINE_CLEANUP(struct findings *, findings_free)

/*
 * Adds a finding of a check ("kernel"): one sentence that says what is, without a full stop; what
 * to do about the last one, where there is something. Running out of memory is told by the
 * functions below.
 */
_printf_(4, 5) void findings_add(struct findings *findings, const char *check, enum verdict verdict,
	const char *format, ...);
_printf_(2, 3) void findings_advise(struct findings *findings, const char *format, ...);

/* True where one is a problem. */
bool findings_have_problem(const struct findings *findings);

/* [{check, verdict, message, advice}], borrowed; NULL without memory. */
const json_t *findings_json(const struct findings *findings);

/* For people. Returns 0 or -ENOMEM. */
int findings_print(const struct findings *findings, const struct cli *cli);
