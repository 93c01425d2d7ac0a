/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The gate: table inet jitgate in the kernel, as the daemon uses it. All changes go through one
 * netlink socket, which owns the table where the kernel can.
 */

#include "nft/elements.h"
#include "nft/ruleset.h"

struct gate;

int gate_open(struct gate **ret);
struct gate *gate_free(struct gate *gate);
DEFINE_CLEANUP(struct gate *, gate_free)

/* Netlink port of our changes, by which a watcher tells them from others'. */
uint32_t gate_port(const struct gate *gate);

enum gate_install {
	GATE_WAS_ABSENT, /* made */
	GATE_WAS_REPLACED, /* was there, but not ours to mend: made anew */
	GATE_WAS_PRESENT, /* mended in place */
};

/*
 * Makes the kernel's table as wanted, whatever is there, in one transaction: rules, managed ports,
 * always_allow and, unless grants is NULL, the elements of grants (NULL keeps those that are
 * there). A second one, where there are new prefixes, only takes out what the rules name until the
 * kernel shows them. What is as wanted is left alone; sessions and flows are kept. ruleset->owned
 * is a wish: ret_owned tells. Returns 0; -EPERM (no CAP_NET_ADMIN, or another process owns the
 * table); -errno, with ret_what.
 */
int gate_install(struct gate *gate, const struct ruleset *ruleset,
	const struct element_list *grants, enum gate_install *ret_found, bool *ret_owned,
	const char **ret_what);

/* Removes and adds grants' elements in one transaction. Returns 0; -ENOENT or -EEXIST where the
 * kernel has not what we think, or where a prefix is the first and the rules do not look for any
 * yet (install again); -errno. */
int gate_change(struct gate *gate, const struct element *remove, size_t n_remove,
	const struct element *add, size_t n_add, const char **ret_what);

/* Takes the table away. Returns 0; -ENOENT: there is none; -errno. */
int gate_remove(struct gate *gate);

/* True where the table is in the kernel and whole; ret_refused: packets refused since it was made.
 */
int gate_status(struct gate *gate, bool *ret_installed, uint64_t *ret_refused);

/* True where the host has a chain of type nat at prerouting, whoever made it (iptables-legacy too).
 */
int gate_find_destination_nat(struct gate *gate, bool *ret);

/* Appends the managed ports that the kernel has; nothing where there is no table of ours. */
int gate_read_ports(struct gate *gate, struct port_range_list *tcp, struct port_range_list *udp);

/* Each appends to the list, of both families; of grants those sets that are there. */
int gate_read_grants(struct gate *gate, struct element_list *list);
int gate_read_denied(struct gate *gate, struct element_list *list);
int gate_read_sessions(struct gate *gate, struct flow_list *list); /* TCP and UDP */

/* Adds UDP flows, as if their packets had been let in now. Returns 0 or -errno. */
int gate_add_flows(struct gate *gate, const struct flow_list *flows);

/* Forgets sessions (TCP) and flows (UDP): a packet of theirs is then judged anew. */
int gate_forget_sessions(struct gate *gate, const struct flow *flows, size_t n);
