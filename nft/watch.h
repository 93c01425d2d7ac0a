/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Watches what other programs do to nf_tables (netlink group NFNLGRP_NFTABLES). Our own changes are
 * filtered out in the kernel: a grant wakes nobody. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cleanup.h"

struct watch;

/* What others have done since the last report. */
struct watch_report {
	bool gate; /* changed table inet jitgate, or something in it */
	bool chains; /* made or removed chains elsewhere: destination NAT may have come or gone */
	bool overrun; /* events were lost: anything may have changed */
	bool unnamed; /* who did it is not told yet: it is the last event of a transaction */
	pid_t pid; /* who changed the table last, where the kernel says it; 0 otherwise */
	char process[32];
};

/* own_port is gate_port(). Returns 0 or -errno. */
int watch_open(uint32_t own_port, struct watch **ret);
struct watch *watch_free(struct watch *watch);
DEFINE_CLEANUP(struct watch *, watch_free)

/* Readable when there is something to report. */
int watch_fd(const struct watch *watch);

/* Reads all events that are there. Returns 0 or -errno. */
int watch_read(struct watch *watch, struct watch_report *ret);

/*
 * Completes a report that is unnamed, once a transaction of one's own has passed: the kernel makes
 * one after the other, events included, so the one reported has ended. Reads no events of a later
 * one. Returns 0 or -errno.
 */
int watch_read_name(struct watch *watch, struct watch_report *report);
