/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "agent/common/file.h"
#include "agent/common/strictjson.h"
#include "agent/common/text.h"
#include "agent/poll/cursor.h"
#include "cleanup.h"

#define FILE_BYTES_MAX 8192

static char *cursor_path(const char *directory)
{
	char *path;

	return asprintf(&path, "%s/cursor.json", directory) < 0 ? NULL : path;
}

bool cursor_is_valid(const char *text)
{
	size_t n = strlen(text);

	return n >= 1 && n <= CURSOR_BYTES_MAX && text_is_printable(text);
}

static bool member_is(const json_t *object, const char *key, const char *value)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && strcmp(text, value) == 0;
}

static int cursor_read(const json_t *object, struct cursor *ret)
{
	const json_t *documents = json_object_get(object, "documents");
	const json_t *disbelieved = json_object_get(object, "disbelieved");
	const json_t *events = json_object_get(object, "events");
	struct cursor cursor = {};

	if (documents) {
		const char *text = json_string_value(documents);

		if (!text || !cursor_is_valid(text))
			return -EBADMSG;
		memcpy(cursor.documents, text, strlen(text) + 1);
	}
	if (disbelieved && !json_is_boolean(disbelieved))
		return -EBADMSG;
	cursor.disbelieved = json_is_true(disbelieved);
	if (events) {
		if (!json_is_integer(events) || json_integer_value(events) < 0)
			return -EBADMSG;
		cursor.events = (uint64_t)json_integer_value(events);
		cursor.has_events = true;
	}
	*ret = cursor;
	return 0;
}

int cursor_load(const char *directory, const char *url, const char *vm_id, struct cursor *ret)
{
	_cleanup_(freep) char *path = cursor_path(directory);
	_cleanup_(freep) char *text = NULL;
	json_auto_t *object = NULL;
	char reason[128];
	size_t n_bytes;
	int r;

	*ret = (struct cursor){};
	if (!path)
		return -ENOMEM;
	r = file_read(path, FILE_BYTES_MAX, &text, &n_bytes);
	if (r < 0)
		return r == -ENOENT ? 1 : r;
	if (json_parse_object(text, n_bytes, &object, reason, sizeof(reason)) < 0)
		return -EBADMSG;
	if (!member_is(object, "url", url) || !member_is(object, "vmId", vm_id))
		return 1;
	return cursor_read(object, ret);
}

int cursor_save(
	const char *directory, const char *url, const char *vm_id, const struct cursor *cursor)
{
	_cleanup_(freep) char *path = cursor_path(directory);
	_cleanup_(freep) char *text = NULL;
	json_auto_t *object = json_pack("{s:s, s:s}", "url", url, "vmId", vm_id);

	if (!path || !object)
		return -ENOMEM;
	if (cursor->documents[0])
		json_object_set_new(object, "documents", json_string(cursor->documents));
	if (cursor->disbelieved)
		json_object_set_new(object, "disbelieved", json_true());
	if (cursor->has_events)
		json_object_set_new(object, "events", json_integer((json_int_t)cursor->events));
	text = json_dumps(object, JSON_COMPACT);
	return text ? file_write(path, 0600, text, strlen(text)) : -ENOMEM;
}
