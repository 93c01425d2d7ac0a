/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The checks of `jitgate doctor`: each looks at the survey and adds what it finds. */

#include "agent/cli/findings.h"
#include "agent/cli/survey.h"

void doctor_kernel(const struct survey *survey, struct findings *findings);
void doctor_agent(const struct survey *survey, struct findings *findings);
void doctor_files(const struct survey *survey, struct findings *findings);
void doctor_firewall(const struct survey *survey, struct findings *findings);
void doctor_ports(const struct survey *survey, struct findings *findings);
void doctor_clock(const struct survey *survey, struct findings *findings);
void doctor_feed(const struct survey *survey, struct findings *findings);
void doctor_connection(const struct survey *survey, struct findings *findings);

/* True where systemd starts the unit at boot ("jitgated.service"), by the links that enabling it
 * makes. */
bool unit_is_enabled(const char *unit);

/* True where it is: then it starts neither at boot nor when it is told to. */
bool unit_is_masked(const char *unit);

/* True where systemd runs this machine. */
bool systemd_is_there(void);
