/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The text of io.jitgate.Agent.varlink, which the build puts into the program. */

extern const char agent_interface[];
