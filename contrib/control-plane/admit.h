/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Who may call at all. */

#include "contrib/control-plane/server.h"

/* For http_options; userdata is the server. */
bool admit_request(struct http_request *request, const struct http_route *route, void *userdata);
