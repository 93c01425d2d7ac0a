/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <inttypes.h>

#include "agent/common/times.h"
#include "agent/poll/batch.h"
#include "cleanup.h"

void batch_done(struct batch *batch)
{
	json_decref(batch->events);
	*batch = (struct batch){};
}

static json_t *lost_event(uint64_t first, uint64_t last, int64_t now_seconds, const char *boot_id)
{
	char message[160], time[TIME_STRING_MAX];

	snprintf(message, sizeof(message),
		"%" PRIu64 " events were lost before they could be sent: the audit log had no room "
		"for them",
		last - first + 1);
	return json_pack("{s:I, s:s, s:s, s:s, s:s, s:{s:I, s:I, s:I}}", "sequence",
		(json_int_t)last, "time", time_format_utc(now_seconds, time), "bootId", boot_id,
		"type", "events_lost", "message", message, "details", "count",
		(json_int_t)(last - first + 1), "first", (json_int_t)first, "last",
		(json_int_t)last);
}

static int add(struct batch *batch, json_t *event, uint64_t sequence)
{
	if (json_array_append_new(batch->events, event) < 0)
		return -ENOMEM;
	batch->last = sequence;
	return 0;
}

int batch_make(const json_t *listed, uint64_t newest, uint64_t after, bool is_first, size_t n_max,
	int64_t now_seconds, const char *boot_id, struct batch *ret)
{
	_cleanup_(batch_done) struct batch batch = { .events = json_array(), .last = after };
	json_t *event;
	size_t i;
	int r = 0;

	if (!json_is_array(listed))
		return -EBADMSG;
	json_array_foreach (listed, i, event) {
		const json_t *number = json_object_get(event, "sequence");
		uint64_t sequence = (uint64_t)json_integer_value(number);

		if (!json_is_integer(number) || sequence <= batch.last || sequence > newest)
			return -EBADMSG;
		if (sequence > batch.last + 1 && !is_first) {
			if (json_array_size(batch.events) == n_max)
				break;
			batch.n_lost += sequence - 1 - batch.last;
			r = add(&batch,
				lost_event(batch.last + 1, sequence - 1, now_seconds, boot_id),
				sequence - 1);
		}
		is_first = false;
		if (json_array_size(batch.events) == n_max)
			break;
		if (r == 0)
			r = add(&batch, json_incref(event), sequence);
		if (r < 0)
			return r;
	}
	/* The log has none of those that were given out. */
	if (json_array_size(listed) == 0 && newest > after && !is_first) {
		batch.n_lost = newest - after;
		r = add(&batch, lost_event(after + 1, newest, now_seconds, boot_id), newest);
	}
	if (r < 0)
		return r;
	*ret = batch;
	batch = (struct batch){};
	return 0;
}
