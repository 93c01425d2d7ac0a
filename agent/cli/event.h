/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* An audit event as a line for people. */

#include "agent/cli/output.h"

void event_print(const struct cli *cli, const json_t *event);
