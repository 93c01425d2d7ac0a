/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Writing the log. Reading it is in read.c. */

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "agent/common/log.h"
#include "agent/common/times.h"
#include "contrib/control-plane/activity/activity.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/server.h"
#include "contrib/control-plane/state/instant.h"

#define ENTRY_MESSAGE_BYTES_MAX 1024

/* An entry that outlives its caller, and the answer that follows it. */
struct answer {
	const struct activity *activity;
	struct http_request *request;
	unsigned status;
	const char *code;
	json_t *json;
	int64_t now_usec;
	char id[17];
	char message[ENTRY_MESSAGE_BYTES_MAX];
};

json_t *activity_entry_to_json(
	const struct activity_entry *entry, const char *id, int64_t time_usec)
{
	char time[INSTANT_STRING_MAX];
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s, s:s*, s:s*}",
		"id", id, "time", instant_format(time_usec, time), "operation", entry->operation,
		"principal", entry->principal, "subject", entry->subject, "vm", entry->vm,
		"resource", entry->resource, "request", entry->request, "protocol", entry->protocol,
		"source", entry->source, "reason", entry->reason, "result", entry->result, "code",
		entry->code, "message", entry->message);

	if (json && entry->port > 0)
		json_object_set_new(json, "port", json_integer(entry->port));
	return json;
}

int activity_add(const struct activity *activity, struct change *change, int64_t now_usec,
	const struct activity_entry *entry)
{
	char time[INSTANT_STRING_MAX], id[17];

	chance_hex(id, 8);
	return change_put(change, activity_entry_to_json(entry, id, now_usec),
		now_usec / (int64_t)USEC_PER_SEC + activity->retention, "activity/%s/%s",
		instant_format(now_usec, time), id);
}

static int answer_build(struct change *change, void *userdata)
{
	struct answer *answer = userdata;
	char time[INSTANT_STRING_MAX];

	return change_put(change, json_incref(answer->json),
		answer->now_usec / (int64_t)USEC_PER_SEC + answer->activity->retention,
		"activity/%s/%s", instant_format(answer->now_usec, time), answer->id);
}

static void answer_done(int error, int64_t revision, void *userdata)
{
	struct answer *answer = userdata;

	(void)revision;
	if (error < 0)
		log_line(LOG_ERR, "can't write to the activity log: %s", strerror(-error));
	http_respond_error(answer->request, answer->status, answer->code, "%s", answer->message);
	json_decref(answer->json);
	free(answer);
}

void activity_answer(const struct activity *activity, struct http_request *request, unsigned status,
	const char *code, const struct activity_entry *entry)
{
	struct answer *answer = calloc(1, sizeof(*answer));

	if (!answer) {
		http_respond_error(request, status, code, "%s", entry->message);
		return;
	}
	*answer = (struct answer){
		.activity = activity,
		.request = request,
		.status = status,
		.code = code,
		.now_usec = (int64_t)clock_realtime_usec(),
	};
	chance_hex(answer->id, 8);
	snprintf(answer->message, sizeof(answer->message), "%s", entry->message);
	answer->json = activity_entry_to_json(entry, answer->id, answer->now_usec);
	change_begin(activity->store, activity->leases, answer_build, answer_done, answer);
}
