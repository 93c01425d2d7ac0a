/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The users and the group of packaging/systemd/jitgate.sysusers. */

#define AGENT_USER "jitgated" /* whom jitgated runs as */
#define POLL_USER "jitgate-poll" /* whom jitgate-poll runs as; its own group has the same name */
#define READERS_GROUP "jitgate" /* who may read from jitgated */
