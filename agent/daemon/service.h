/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The local interface io.jitgate.Agent: who may call what, and what the methods answer. */

#include "agent/daemon/agent.h"

/* Listens on the configured socket. Returns 0 or -errno. */
int service_start(struct agent *agent);

/* Sends an audit record (borrowed) to all who listen. */
void service_publish(struct agent *agent, json_t *record);

/* Lets go of who listens. */
void service_stop(struct agent *agent);
