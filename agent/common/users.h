/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The users and groups of packaging/systemd/, and what they may read. */

#include <pwd.h>
#include <stdbool.h>

#define AGENT_USER "jitgated" /* whom jitgated runs as */
#define POLL_USER "jitgate-poll" /* whom jitgate-poll runs as; its own group has the same name */
#define READERS_GROUP "jitgate" /* who may read from jitgated */
#define SERVER_USER "jitgate-server" /* whom jitgate-server runs as; so its group */

/* True where a file is there and that user may not read it, as far as root, who alone can become
 * it, finds out: the kernel is asked, since directories on the way, groups and access lists count
 * too. */
bool user_is_denied(const struct passwd *user, const char *path);
