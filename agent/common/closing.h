/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Closing Unix sockets whose peers are anybody.
 *
 * A peer may send descriptors along (SCM_RIGHTS) with what nobody reads. They go with the socket,
 * and where one is the last of a TCP socket with SO_LINGER, close() waits for whom that is
 * connected to, for as long as the sender has chosen (inet_release() in net/ipv4/af_inet.c). A
 * signal ends that.
 */

/* Once, before: has SIGALRM do nothing but that. Returns 0 or -errno. */
int closing_prepare(void);

void close_at_once(int fd);
