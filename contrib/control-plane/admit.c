/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Each caller has a bucket by name. An address has one for what nobody vouches for: calls without a
 * credential, or with a wrong one. Who is known never waits for that: thousands of agents may share
 * an address with a stranger.
 */

#include <stdio.h>
#include <time.h>

#include "agent/common/times.h"
#include "contrib/control-plane/admit.h"
#include "contrib/control-plane/feed/feed.h"
#include "contrib/control-plane/identity/credential.h"

static void refuse_rate(struct http_request *request, uint64_t wait_usec)
{
	char seconds[24];

	snprintf(seconds, sizeof(seconds), "%llu",
		(unsigned long long)(wait_usec / USEC_PER_SEC + 1));
	(void)http_request_add_header(request, "Retry-After", seconds);
	http_respond_error(request, 429, "TooManyRequests",
		"too many requests: try again in %s seconds", seconds);
}

/* Without an address (a proxy that does not tell) all strangers are one. */
static uint64_t stranger_key(const struct server *server, const struct http_request *request)
{
	struct address address;
	uint8_t family;

	http_request_source(request, &family, &address);
	return rate_key_address(server->strangers, family, &address);
}

static bool admit_stranger(struct server *server, struct http_request *request)
{
	uint64_t wait_usec;

	if (!server->strangers)
		return true;
	wait_usec =
		rate_take(server->strangers, stranger_key(server, request), clock_monotonic_usec());
	if (wait_usec > 0)
		refuse_rate(request, wait_usec);
	return wait_usec == 0;
}

static bool admit_caller(struct server *server, struct http_request *request, const char *name)
{
	uint64_t wait_usec;

	if (!server->callers)
		return true;
	wait_usec = rate_take(
		server->callers, rate_key_name(server->callers, name), clock_monotonic_usec());
	if (wait_usec > 0)
		refuse_rate(request, wait_usec);
	return wait_usec == 0;
}

/* RFC 6750 section 3. */
static void refuse_credential(
	struct http_request *request, const char *challenge, const char *reason)
{
	(void)http_request_add_header(request, "WWW-Authenticate", challenge);
	http_respond_error(request, 401, "AuthenticationFailed", "%s", reason);
}

void server_refuse_credential(
	struct server *server, struct http_request *request, const char *reason)
{
	if (admit_stranger(server, request))
		refuse_credential(request, "Bearer error=\"invalid_token\"", reason);
}

static void principal_done(void *data)
{
	principal_free(data);
}

static bool admit_principal(struct server *server, struct http_request *request, const char *bearer)
{
	struct principal *principal = NULL;
	const char *reason = NULL;
	int r;

	r = identity_authenticate(server->identity, bearer, time(NULL), &principal, &reason);
	if (r == NOT_IDENTIFIED) {
		server_refuse_credential(server, request, reason);
		return false;
	}
	if (r < 0) {
		http_respond_error(request, 500, "InternalError", "out of memory");
		return false;
	}
	http_request_set_data(request, principal, principal_done);
	return admit_caller(server, request, principal->name);
}

static bool admit_credential(struct server *server, struct http_request *request,
	const struct http_route *route, const char *bearer)
{
	char hash[CREDENTIAL_HASH_MAX];

	if (credential_hash(bearer, hash) < 0) {
		http_respond_error(request, 500, "InternalError", "out of memory");
		return false;
	}
	if (route->access == NEEDS_AGENT && !feed_knows(server->feed, hash)) {
		server_refuse_credential(server, request, FEED_REFUSAL);
		return false;
	}
	return admit_caller(server, request, hash);
}

bool admit_request(struct http_request *request, const struct http_route *route, void *userdata)
{
	struct server *server = userdata;
	const char *bearer = http_request_bearer(request);

	if (route->access == NEEDS_NOTHING)
		return admit_stranger(server, request);
	if (!bearer) {
		if (admit_stranger(server, request))
			refuse_credential(request, "Bearer", "this needs a bearer token");
		return false;
	}
	return route->access == NEEDS_PRINCIPAL ? admit_principal(server, request, bearer)
						: admit_credential(server, request, route, bearer);
}
