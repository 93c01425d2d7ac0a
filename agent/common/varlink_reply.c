/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/common/strictjson.h"
#include "agent/common/varlink_reply.h"
#include "cleanup.h"

void varlink_reply_done(struct varlink_reply *reply)
{
	json_decref(reply->parameters);
	free(reply->error);
}

int varlink_reply_read(const char *text, size_t n_bytes, struct varlink_reply *ret)
{
	_cleanup_(varlink_reply_done) struct varlink_reply reply = { 0 };
	json_auto_t *message = NULL;
	json_t *parameters, *error;
	char reason[128];

	if (json_parse_object(text, n_bytes, &message, reason, sizeof(reason)) < 0)
		return -EBADMSG;

	parameters = json_object_get(message, "parameters");
	error = json_object_get(message, "error");
	if ((parameters && !json_is_object(parameters)) || (error && !json_is_string(error)))
		return -EBADMSG;

	reply.continues = json_is_true(json_object_get(message, "continues"));
	reply.parameters = parameters ? json_incref(parameters) : json_object();
	if (error) {
		reply.error = strdup(json_string_value(error));
		if (!reply.error)
			return -ENOMEM;
	}

	*ret = reply;
	reply = (struct varlink_reply){ 0 };
	return 0;
}

json_t *varlink_call_message(const char *method, json_t *parameters, bool more)
{
	json_t *message = json_pack("{s:s, s:o}", "method", method, "parameters",
		parameters ? parameters : json_object());

	if (more)
		json_object_set_new(message, "more", json_true());
	return message;
}
