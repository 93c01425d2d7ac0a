/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What stands in for the world outside a target's process: a kernel that answers netlink requests
 * with the input's messages, and a journal that is not there. Every target is linked with it: none
 * touches the machine's rules, sockets or log.
 *
 * libnftnl trusts the kernel: it ends the program where an attribute has not the length it knows
 * (abi_breakage()), and crashes where an expression has no name. Here such a message can't be
 * parsed, and what libnftnl had taken for it is no leak of ours: kernel_forget() frees it.
 *
 * A request gets those messages that answer its kind (NEWSET for GETSET), with its sequence number
 * and port, and control messages (errors, ends) where the input has any; then the end of the dump
 * or the acknowledgement. A batch is acknowledged. The messages are of the target: they must stay.
 */

#include <stddef.h>
#include <stdint.h>

void kernel_answer_with(const uint8_t *messages, size_t n_bytes);

/* At the end of an input, when all is freed that can be: else libFuzzer looks for leaks at each. */
void kernel_forget(void);

/* An event comes, on the netlink socket of that descriptor: the bytes as they are. */
void kernel_tell(int fd, const uint8_t *bytes, size_t n_bytes);
