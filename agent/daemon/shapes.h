/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The JSON shapes of io.jitgate.Agent's types. Each returns a new reference, or NULL: no memory. */

#include <jansson.h>

#include "agent/daemon/agent.h"
#include "agent/daemon/sessions.h"

json_t *shape_ports(const struct document_port *ports, size_t n); /* []Port */
json_t *shape_grant(const struct grant *grant, const struct moment *now);
json_t *shape_managed_ports(const struct policies *policies);
json_t *shape_session(const struct session *session);
json_t *shape_denied(const struct element *element);
json_t *shape_time(int64_t seconds); /* RFC 3339 */
