/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What the commands make of the agent's replies, events among them: a byte for the command, one for
 * how it is called, then a reply's JSON a line. Varlink's framing is varlink_client_fuzz.c's: here
 * the client is one that reads the input.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include "agent/cli/client.h"
#include "agent/cli/doctor.h"
#include "agent/cli/ownership.h"
#include "agent/common/strictjson.h"
#include "tests/fuzz/commands.h"
#include "tests/fuzz/outside.h"

static const struct call calls[] = {
	{ &command_status, {} },
	{ &command_grants, { "--all" } },
	{ &command_sessions, {} },
	{ &command_denied, {} },
	{ &command_watch, {} },
	{ &command_explain, { "192.0.2.7", "22/tcp" } },
	{ &command_grant,
		{ "--port", "22/tcp", "--source", "192.0.2.7", "--for", "PT1H", "--reason", "r" } },
	{ &command_revoke, { "some-id", "--reason", "r" } },
	{ &command_reload, {} },
	{ &command_doctor, {} },
	{ &command_assess, {} },
	{ &command_assess, { "--propose" } },
	{ &command_enforce, {} },
	{ &command_enforce, { "--confirm-within", "PT2M" } },
	{ &command_confirm, {} },
};

struct varlink_client {
	int unused;
};

int varlink_client_open(const char *path, int timeout_ms, struct varlink_client **ret)
{
	(void)path, (void)timeout_ms;
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

struct varlink_client *varlink_client_free(struct varlink_client *client)
{
	free(client);
	return NULL;
}

/* As a client that was sent this line: an object with "parameters" and perhaps "error". */
static int next_reply(json_t **ret_parameters, char **ret_error)
{
	size_t n;
	const char *line = line_next(&n);
	json_auto_t *message = NULL;
	json_t *parameters;
	const char *error;
	char reason[128];

	if (json_parse_object(line, n, &message, reason, sizeof(reason)) < 0)
		return *line ? -EBADMSG : -EPIPE;
	parameters = json_object_get(message, "parameters");
	error = json_string_value(json_object_get(message, "error"));
	*ret_parameters = json_is_object(parameters) ? json_incref(parameters) : json_object();
	*ret_error = error ? strdup(error) : NULL;
	return error ? VARLINK_ERROR : 0;
}

int varlink_client_call(struct varlink_client *client, const char *method, json_t *parameters,
	json_t **ret_parameters, char **ret_error)
{
	(void)client, (void)method;
	json_decref(parameters);
	return next_reply(ret_parameters, ret_error);
}

int varlink_client_subscribe(struct varlink_client *client, const char *method, json_t *parameters,
	int (*callback)(json_t *parameters, void *userdata), void *userdata,
	json_t **ret_parameters, char **ret_error)
{
	(void)client, (void)method;
	json_decref(parameters);
	for (;;) {
		json_auto_t *reply = NULL;
		int r = next_reply(&reply, ret_error);

		if (r != 0) {
			*ret_parameters = r > 0 ? json_incref(reply) : NULL;
			return r;
		}
		r = callback(reply, userdata);
		if (r < 0)
			return r;
	}
}

/* Sockets that wait for strangers, as the kernel tells them (host_fuzz.c reads others). */
static void answer_listeners(void)
{
	static const uint16_t ports[] = { 22, 2222, 5432, 3389, 5901, 2375 };
	static struct {
		struct nlmsghdr head;
		struct inet_diag_msg socket;
	} messages[N_ELEMENTS(ports)];

	for (size_t i = 0; i < N_ELEMENTS(ports); i++) {
		messages[i].head = (struct nlmsghdr){
			.nlmsg_len = sizeof(messages[i]),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
		};
		messages[i].socket = (struct inet_diag_msg){
			.idiag_family = i % 2 ? AF_INET : AF_INET6,
			.id.idiag_sport = htons(ports[i]),
		};
	}
	kernel_answer_with((const uint8_t *)messages, sizeof(messages));
}

int processes_name(const struct listener_list *listeners, char (*names)[PROCESS_NAME_MAX])
{
	for (size_t i = 0; i < listeners->n; i++)
		snprintf(names[i], PROCESS_NAME_MAX, i % 3 ? "sshd" : "");
	return 0;
}

/* What is tried with the kernel and on files, in other processes. */
void doctor_kernel(const struct survey *survey, struct findings *findings)
{
	(void)survey, (void)findings;
}

void doctor_files(const struct survey *survey, struct findings *findings)
{
	(void)survey, (void)findings;
}

/* Nothing is written where a reply says. */
int ownership_check(const char *path, char place[static PATH_MAX])
{
	snprintf(place, PATH_MAX, "%s", path);
	return OWNERSHIP_OTHERS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	answer_listeners();
	(void)call_with_lines(calls, N_ELEMENTS(calls), data, size);
	return 0;
}
