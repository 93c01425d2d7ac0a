/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* An audit event as a line for people: what happened, and who and why where that does not say it.
 */

#include "agent/cli/output.h"

void event_print(const struct cli *cli, const json_t *event);
