/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Calls to the agent that tell people what went wrong and what to do. */

#include <jansson.h>

#include "agent/cli/command.h"
#include "agent/common/varlink.h"

#define AGENT_INTERFACE "io.jitgate.Agent"
#define AGENT_SOCKET "/run/jitgate/agent.sock"

/* Returns EXIT_DONE and the connection; another exit code, having said why. */
int client_open(const struct cli *cli, struct varlink_client **ret);

/* Calls a method of the agent ("Status"); consumes parameters. Returns EXIT_DONE and the reply,
 * owned by the caller; another exit code, having said why. */
int client_call(const struct cli *cli, struct varlink_client *client, const char *method,
	json_t *parameters, json_t **ret_reply);

/* Both at once. */
int client_ask(const struct cli *cli, const char *method, json_t *parameters, json_t **ret_reply);

/* The same for a list: ret_list is the array of that name, borrowed from the reply. */
int client_list(const struct cli *cli, const char *method, json_t *parameters, const char *name,
	json_t **ret_reply, json_t **ret_list);

/* Says why a call failed: error is what varlink_client_call() returned, name and parameters the
 * error reply's where that is VARLINK_ERROR. Returns the exit code. */
int client_explain(
	const struct cli *cli, const char *method, int error, const char *name, json_t *parameters);
