/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What watches the server from outside: /healthz and /metrics. */

#include "contrib/control-plane/server.h"

/* userdata is the server. */
extern const struct http_route probes_routes[];

/* Registers what the server itself counts. */
int probes_add_metrics(struct server *server);
