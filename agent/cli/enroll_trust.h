/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The keys that a control plane signs with: fetched, shown, and believed only when someone says so.
 */

#include <jansson.h>

#include "agent/cli/fingerprint.h"
#include "agent/cli/server.h"

#define ENROLL_PINS_MAX TRUST_KEYS_MAX

/* All of it begins as zeros. */
struct enroll_trust {
	char *text; /* as it is written: the set, as JSON for people */
	struct trust *trust; /* what the server serves */
	struct fingerprint fingerprint; /* of the whole */
	struct trust *former; /* what was trusted until now; NULL: nothing */
	bool changed; /* the file would be another */
	size_t n_gone; /* keys that were trusted, and are not served */
};

/* Fetches the keys, and reads those in the file at path, where there is one. Returns EXIT_DONE;
 * another exit code, having said why. */
int enroll_trust_fetch(
	const struct cli *cli, struct http *http, const char *path, struct enroll_trust *keys);
void enroll_trust_done(struct enroll_trust *keys);

/* Whether what is given as --trust-fingerprint are fingerprints. Returns as above. */
int enroll_trust_check_usage(const struct cli *cli, const struct arguments *arguments);

/* Shows the keys, and compares them with --trust-fingerprint. Returns as above. */
int enroll_trust_show(
	const struct cli *cli, const struct arguments *arguments, const struct enroll_trust *keys);

/* Asks whether the keys that were shown are to be trusted; --trust-fingerprint, which they agree
 * with, and --yes are answers. Returns as above. */
int enroll_trust_confirm(
	const struct cli *cli, const struct arguments *arguments, const char *question);

/* The keys as JSON: kid, alg, fingerprint, and change, which is added, kept or removed. Returns a
 * new reference; NULL without memory. */
json_t *enroll_trust_json(const struct enroll_trust *keys);
