/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The trust file: a JWK Set (RFC 7517) with the public keys whose signatures count.
 *
 * Each key needs "kid" and "alg". It may carry "jit_ports" (["22/tcp", "5000-5010/udp"], a star as
 * the protocol being both) and "jit_max_duration" (ISO 8601), which narrow what its signature can
 * do.
 */

#include <jansson.h>
#include <stdint.h>

#include "agent/common/prefix.h"
#include "cleanup.h"

#define TRUST_FILE_BYTES_MAX (256 * 1024)
#define TRUST_KEYS_MAX 64
#define TRUST_KEY_PORTS_MAX 64
#define TRUST_KID_MAX 256
#define TRUST_RSA_BITS_MIN 2048
#define TRUST_RSA_BITS_MAX 8192

struct trust_key_ports {
	struct port_range ports;
	unsigned protocols;
};

struct trust_key {
	char *kid;
	char *alg;
	/* Public: kty, kid, alg and what the key type needs, nothing else of the file's. */
	json_t *jwk;
	/* n_ports 0 with narrowed_ports false: every port. */
	bool narrowed_ports;
	struct trust_key_ports ports[TRUST_KEY_PORTS_MAX];
	size_t n_ports;
	/* Seconds; 0: no bound of its own. */
	int64_t max_duration;
};

struct trust {
	struct trust_key *keys;
	size_t n_keys;
};

/* The algorithms a document may be signed with: ES256, ES384, PS256, RS256. */
bool algorithm_is_supported(const char *alg);

/*
 * Reads a trust file. Returns 0 and the keys, owned by the caller; -errno, with a sentence in
 * ret_error (allocated; owned by the caller): "trust.jwks: key \"a\": alg \"HS256\" is not
 * supported". A private or symmetric key, a missing or repeated kid, a missing alg, an RSA key
 * under 2048 bits, a curve that is not the alg's, a use other than verifying, or a bad narrowing is
 * -EINVAL. An empty set is allowed.
 */
int trust_load(const char *path, struct trust **ret, char **ret_error);

/* The same from text in memory, path being only for messages. */
int trust_parse(
	const char *text, size_t n_bytes, const char *path, struct trust **ret, char **ret_error);

/* The key of that kid, or NULL. */
const struct trust_key *trust_find(const struct trust *trust, const char *kid);

/*
 * Checks a public JWK as the trust file's are checked, narrowing apart. Returns 0; -EINVAL, with
 * what is wrong as the rest of a sentence about the key in error; -ENOMEM.
 */
int trust_check_jwk(const json_t *jwk, char *error, size_t n_error);

/*
 * Reads one key, as trust_load() does each. Returns as trust_check_jwk(); a key that was read in
 * part is released with trust_key_done() too.
 */
int trust_key_read(struct trust_key *key, const json_t *jwk, char *error, size_t n_error);
void trust_key_done(struct trust_key *key);

struct trust *trust_free(struct trust *trust);
DEFINE_CLEANUP(struct trust *, trust_free)
