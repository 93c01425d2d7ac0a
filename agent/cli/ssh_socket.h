/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* systemd may listen for sshd until the first one comes (systemd.socket(5)): where? */

#include <stdbool.h>
#include <stdint.h>

/* True where ssh.socket or sshd.socket, or one of their drop-ins, has this port in a ListenStream=.
 * Whether it is in force, what listens tells. */
bool ssh_socket_has(uint16_t port);

/* The port of a line "ListenStream=[::]:22"; 0 where it has none. */
uint16_t ssh_socket_port(const char *line);
