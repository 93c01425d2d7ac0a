/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * A VM joins: an enrollment token, good once, becomes its credential. A VM that joins again has a
 * new credential; the one before is gone with the same transaction.
 */

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "agent/common/times.h"
#include "contrib/control-plane/feed/feed.h"
#include "contrib/control-plane/identity/credential.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/server.h"
#include "contrib/control-plane/state/instant.h"

#define USED 1 /* of the builder: the token is gone */

static const char refusal[] =
	"this enrollment token is not known, has been used, or is older than an hour: make a new "
	"one (jitgate-server enrollment new)";

struct enrollment {
	struct feed *feed;
	struct http_request *call;
	char token[CREDENTIAL_HASH_MAX]; /* hashes */
	char hash[CREDENTIAL_HASH_MAX];
	char credential[CREDENTIAL_STRING_MAX];
	char *vm;
	int64_t mod_revision; /* of the enrollment */
	bool was_tried;
};

static void enrollment_free(struct enrollment *enrollment)
{
	explicit_bzero(enrollment->credential, sizeof(enrollment->credential));
	free(enrollment->vm);
	free(enrollment);
}

static void enrollment_refuse(struct enrollment *enrollment)
{
	server_refuse_credential(enrollment->feed->options.server, enrollment->call, refusal);
	enrollment_free(enrollment);
}

static void enrollment_fail(struct enrollment *enrollment, int error)
{
	api_respond_error(enrollment->call, error);
	enrollment_free(enrollment);
}

static int drop_older(struct enrollment *enrollment, struct change *change)
{
	const struct feed *feed = enrollment->feed;
	int r = 0;

	for (size_t i = 0; i < feed->credentials.n && r == 0; i++) {
		const struct feed_credential *credential = feed->credentials.items[i];

		if (strcasecmp(credential->agent->key, enrollment->vm) != 0)
			continue;
		r = change_compare(change, credential->mod_revision, "agents/%s", credential->key);
		if (r == 0)
			r = change_delete(change, "agents/%s", credential->key);
	}
	return r;
}

/* A conflict means that the token has just been used, or that the VM has just been enrolled with
 * another: either way whoever comes second has none. */
static int build(struct change *change, void *userdata)
{
	struct enrollment *enrollment = userdata;
	const struct feed *feed = enrollment->feed;
	int64_t now_usec = (int64_t)clock_realtime_usec();
	int r;

	if (enrollment->was_tried)
		return USED;
	enrollment->was_tried = true;
	r = change_compare(change, enrollment->mod_revision, "enrollments/%s", enrollment->token);
	if (r == 0)
		r = change_delete(change, "enrollments/%s", enrollment->token);
	if (r == 0)
		r = drop_older(enrollment, change);
	if (r == 0)
		r = change_compare(change, 0, "agents/%s", enrollment->hash);
	if (r == 0)
		r = change_put(change,
			json_pack("{s:s, s:o}", "vm", enrollment->vm, "enrolled",
				instant_to_json(now_usec)),
			0, "agents/%s", enrollment->hash);
	if (r < 0)
		return r;
	return activity_add(feed->options.activity, change, now_usec,
		&(struct activity_entry){
			.operation = OPERATION_ENROLL,
			.principal = enrollment->vm,
			.vm = enrollment->vm,
			.result = "Succeeded",
			.message = "enrolled",
		});
}

static void done(int error, int64_t revision, void *userdata)
{
	struct enrollment *enrollment = userdata;

	(void)revision;
	if (error == USED)
		return enrollment_refuse(enrollment);
	if (error < 0)
		return enrollment_fail(enrollment, error);
	http_respond_json(enrollment->call, 200,
		json_pack("{s:s, s:s, s:s}", "vmId", enrollment->vm, "url",
			enrollment->feed->options.url, "credential", enrollment->credential));
	enrollment_free(enrollment);
}

static void on_found(int error, const struct store_range_result *result, void *userdata)
{
	struct enrollment *enrollment = userdata;
	json_auto_t *json = NULL;
	const char *vm;

	if (error < 0)
		return enrollment_fail(enrollment, error);
	if (result->n_entries == 0)
		return enrollment_refuse(enrollment);
	json = json_loadb(result->entries[0].value, result->entries[0].n_value, 0, NULL);
	vm = json_string_value(json_object_get(json, "vm"));
	if (!vm || vm_id_check(vm))
		return enrollment_refuse(enrollment);
	enrollment->vm = strdup(vm);
	enrollment->mod_revision = result->entries[0].mod_revision;
	if (!enrollment->vm)
		return enrollment_fail(enrollment, -ENOMEM);
	change_begin(enrollment->feed->options.store, enrollment->feed->options.leases, build, done,
		enrollment);
}

void feed_handle_enroll(struct http_request *call, void *userdata)
{
	struct feed *feed = userdata;
	const char *token = http_request_bearer(call);
	struct enrollment *enrollment;
	char key[sizeof("enrollments/") + CREDENTIAL_HASH_MAX];
	int r;

	if (!credential_is_valid(CREDENTIAL_ENROLLMENT, token))
		return server_refuse_credential(feed->options.server, call, refusal);
	enrollment = calloc(1, sizeof(*enrollment));
	if (!enrollment)
		return api_respond_error(call, -ENOMEM);
	enrollment->feed = feed;
	enrollment->call = call;
	r = credential_hash(token, enrollment->token);
	if (r == 0)
		r = credential_new(CREDENTIAL_AGENT, enrollment->credential);
	if (r == 0)
		r = credential_hash(enrollment->credential, enrollment->hash);
	if (r == 0) {
		snprintf(key, sizeof(key), "enrollments/%s", enrollment->token);
		r = store_range(feed->options.store, &(struct store_range){ .from = key }, on_found,
			enrollment);
	}
	if (r < 0)
		enrollment_fail(enrollment, r);
}
