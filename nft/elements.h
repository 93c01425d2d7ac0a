/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Elements of the gate's sets: into a transaction, and out of the kernel. */

#include "address.h"
#include "nft/netlink.h"
#include "nft/sets.h"
#include "nft/transaction.h"

#define ELEMENT_COMMENT_MAX 129 /* the longest id of a document, with its NUL */

/* Of a KEY_SERVICES set. Permanent where timeout_ms is 0; what is to end sooner than kernels can
 * count, after 10 ms, does so then. */
struct element {
	struct address_range sources;
	uint8_t l4proto;
	struct port_range ports;
	uint64_t timeout_ms; /* what is left of it, where it was read from the kernel */
	uint64_t n_packets; /* read from the kernel only */
	char comment[ELEMENT_COMMENT_MAX]; /* cut off where it is longer */
};

struct element_list {
	struct element *elements;
	size_t n;
	size_t n_allocated;
	bool foreign; /* the kernel has more, which we would not have written as they are */
};

struct flow_list {
	struct flow *flows;
	size_t n;
	size_t n_allocated;
};

struct port_range_list {
	struct port_range *ranges;
	size_t n;
	size_t n_allocated;
};

/* The set that holds a grant's element: single addresses are kept by hash, ranges by intervals. */
enum gate_set element_grant_set(const struct element *element);

/* True where one of the grants' elements is of that set. */
bool elements_include(const struct element *elements, size_t n, enum gate_set set);

/*
 * Add or delete (NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM) elements of one set. Nothing is done for n
 * 0. Return 0 or -ENOMEM.
 */
int elements_change(struct transaction *transaction, uint16_t type, enum gate_set set,
	const struct element *const *elements, size_t n);
int elements_change_ports(struct transaction *transaction, uint16_t type, enum gate_set set,
	const struct port_range *ranges, size_t n);
int elements_change_flows(struct transaction *transaction, uint16_t type, enum gate_set set,
	const struct flow *flows, size_t n);

/* Adds those of the trial, which end after timeout_ms. Returns 0 or -ENOMEM. */
int elements_add_trial(struct transaction *transaction, uint64_t timeout_ms);

/* Empties a set. */
int elements_flush(struct transaction *transaction, enum gate_set set);

/*
 * Read a set, appending to the list (release it with the …_done), but for an element that stands
 * for every key. Returns 0; -ENOENT where the kernel has no such set; -EBADMSG where keys are not
 * what the set's definition says; -errno.
 */
int elements_read(struct netlink *netlink, enum gate_set set, struct element_list *list);
int elements_read_ports(struct netlink *netlink, enum gate_set set, struct port_range_list *list);
int elements_read_flows(struct netlink *netlink, enum gate_set set, struct flow_list *list);

/* Looks for one flow. Returns 0 where the set has it; -ENOENT where not; -errno. */
int elements_find_flow(struct netlink *netlink, enum gate_set set, const struct flow *flow);

/* Looks for an element that stands for every key. Returns as elements_find_flow(). */
int elements_find_catch_all(struct netlink *netlink, enum gate_set set);

/* Appends a flow. Returns 0 or -ENOMEM. */
int flow_list_add(struct flow_list *list, const struct flow *flow);

void element_list_done(struct element_list *list);
void flow_list_done(struct flow_list *list);
void port_range_list_done(struct port_range_list *list);
