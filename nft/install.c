/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <linux/netfilter/nf_tables.h>

#include "nft/install.h"

/* Ranges that rules name one by one until their sets are there, this many: with more, who comes in
 * that moment may have to send again. */
#define INTERIM_RANGES_MAX 1000

/* Two timeouts are the same when they end within this of each other: reading takes its time. */
#define TIMEOUT_TOLERANCE_MS 100

/* Order of elements: by set, source, protocol, port. */
static int element_compare(const struct element *a, const struct element *b)
{
	enum gate_set x = element_grant_set(a), y = element_grant_set(b);
	int order;

	if (x != y)
		return x < y ? -1 : 1;
	order = address_compare(&a->sources.first, &b->sources.first);
	if (order == 0)
		order = address_compare(&a->sources.last, &b->sources.last);
	if (order == 0)
		order = (int)a->l4proto - (int)b->l4proto;
	if (order == 0)
		order = (int)a->ports.first - (int)b->ports.first;
	if (order == 0)
		order = (int)a->ports.last - (int)b->ports.last;
	return order;
}

static int compare_element_pointers(const void *a, const void *b)
{
	return element_compare(
		*(const struct element *const *)a, *(const struct element *const *)b);
}

static bool element_lasts_alike(const struct element *a, const struct element *b)
{
	uint64_t longer = a->timeout_ms > b->timeout_ms ? a->timeout_ms : b->timeout_ms;
	uint64_t shorter = a->timeout_ms > b->timeout_ms ? b->timeout_ms : a->timeout_ms;

	return longer - shorter <= TIMEOUT_TOLERANCE_MS &&
		(a->timeout_ms == 0) == (b->timeout_ms == 0);
}

struct pointers {
	const struct element **items;
	size_t n;
};

static void pointers_done(struct pointers *pointers)
{
	free(pointers->items);
}

static int pointers_init(
	struct pointers *pointers, const struct element *elements, size_t n, bool filled)
{
	pointers->n = filled ? n : 0;
	pointers->items = calloc(n + 1, sizeof(*pointers->items));
	if (!pointers->items)
		return -ENOMEM;
	for (size_t i = 0; i < n && filled; i++)
		pointers->items[i] = &elements[i];
	return 0;
}

static void pointers_sort(struct pointers *pointers)
{
	qsort(pointers->items, pointers->n, sizeof(*pointers->items), compare_element_pointers);
}

/* Adds the changes of each set of grants to the transaction; the pointers are sorted, so by set. */
static int change_grants(
	struct transaction *transaction, uint16_t type, const struct pointers *pointers)
{
	for (size_t first = 0, end; first < pointers->n; first = end) {
		enum gate_set set = element_grant_set(pointers->items[first]);
		int status;

		for (end = first + 1; end < pointers->n; end++)
			if (element_grant_set(pointers->items[end]) != set)
				break;
		status = elements_change(
			transaction, type, set, pointers->items + first, end - first);
		if (status < 0)
			return status;
	}
	return 0;
}

struct difference {
	struct pointers remove, add;
};

static void difference_done(struct difference *difference)
{
	pointers_done(&difference->remove);
	pointers_done(&difference->add);
}

/* What is not wanted or lasts otherwise goes; what is missing comes. have and want are sorted by
 * it. Returns 0 or -ENOMEM. */
static int compare_elements(
	struct pointers *have, struct pointers *want, struct difference *difference)
{
	struct pointers *remove = &difference->remove, *add = &difference->add;
	size_t i = 0, k = 0;

	if (pointers_init(remove, NULL, have->n, false) < 0 ||
		pointers_init(add, NULL, want->n, false) < 0)
		return -ENOMEM;
	pointers_sort(have);
	pointers_sort(want);
	while (i < have->n || k < want->n) {
		int order = i == have->n ? 1
			: k == want->n   ? -1
					 : element_compare(have->items[i], want->items[k]);

		if (order < 0) {
			remove->items[remove->n++] = have->items[i++];
		} else if (order > 0) {
			add->items[add->n++] = want->items[k++];
		} else {
			if (!element_lasts_alike(have->items[i], want->items[k]) ||
				strcmp(have->items[i]->comment, want->items[k]->comment) != 0) {
				remove->items[remove->n++] = have->items[i];
				add->items[add->n++] = want->items[k];
			}
			i++;
			k++;
		}
	}
	return 0;
}

static int mend_grants(struct transaction *transaction, const struct element_list *there,
	const struct element_list *wanted)
{
	_cleanup_(difference_done) struct difference difference = {};
	_cleanup_(pointers_done) struct pointers have = {}, want = {};
	int status;

	if (pointers_init(&have, there->elements, there->n, true) < 0 ||
		pointers_init(&want, wanted->elements, wanted->n, true) < 0 ||
		compare_elements(&have, &want, &difference) < 0)
		return -ENOMEM;
	status = change_grants(transaction, NFT_MSG_DELSETELEM, &difference.remove);
	return status < 0 ? status
			  : change_grants(transaction, NFT_MSG_NEWSETELEM, &difference.add);
}

/* What of a wanted range is there in whole ranges stays as it is; the rest of what is there goes.
 * have and ports are sorted and disjoint; add and remove have room for all of both. */
static void compare_ports(const struct port_range_list *have, const struct port_range *ports,
	size_t n, struct port_range_list *remove, struct port_range_list *add)
{
	size_t i = 0;

	for (size_t k = 0; k < n; k++) {
		uint32_t next = ports[k].first;

		for (; i < have->n && have->ranges[i].first <= ports[k].last; i++) {
			const struct port_range *range = &have->ranges[i];

			if (range->first < next || range->last > ports[k].last) {
				remove->ranges[remove->n++] = *range;
				continue;
			}
			if (range->first > next)
				add->ranges[add->n++] = (struct port_range){ (uint16_t)next,
					(uint16_t)(range->first - 1) };
			next = range->last + 1U;
		}
		if (next <= ports[k].last)
			add->ranges[add->n++] =
				(struct port_range){ (uint16_t)next, ports[k].last };
	}
	while (i < have->n)
		remove->ranges[remove->n++] = have->ranges[i++];
}

/*
 * What stays is not touched: kernels before 6.17 may miss a port while its element is made anew,
 * and so take it for one that is not managed (Linux a60f7bf4a152, "netfilter: nft_set_rbtree:
 * continue traversal if element is inactive").
 */
static int install_ports(struct netlink *netlink, struct transaction *transaction,
	enum gate_set set, const struct port_range *ports, size_t n, bool there)
{
	_cleanup_(port_range_list_done) struct port_range_list have = {}, remove = {}, add = {};
	int status = there ? elements_read_ports(netlink, set, &have) : 0;

	if (status < 0)
		return status;
	remove.ranges = calloc(have.n + 1, sizeof(*remove.ranges));
	add.ranges = calloc(have.n + n + 1, sizeof(*add.ranges));
	if (!remove.ranges || !add.ranges)
		return -ENOMEM;
	compare_ports(&have, ports, n, &remove, &add);
	status = elements_change_ports(
		transaction, NFT_MSG_DELSETELEM, set, remove.ranges, remove.n);
	return status < 0
		? status
		: elements_change_ports(transaction, NFT_MSG_NEWSETELEM, set, add.ranges, add.n);
}

/* What stays is not touched: while an element is made anew a packet may find neither, on Linux
 * 6.12.118 also where the transaction's rules name what is in it. */
static int install_always_allow(struct netlink *netlink, struct transaction *transaction,
	struct ruleset *ruleset, uint8_t family, bool there)
{
	enum gate_set set = family == AF_INET ? SET_ALWAYS_ALLOW4 : SET_ALWAYS_ALLOW6;
	_cleanup_(difference_done) struct difference difference = {};
	_cleanup_(element_list_done) struct element_list list = {};
	_cleanup_(pointers_done) struct pointers have = {}, want = {};
	struct pointers *remove = &difference.remove, *add = &difference.add;
	bool keep;
	int status = there ? elements_read(netlink, set, &list) : 0;

	if (status < 0)
		return status;
	keep = there && !list.foreign;
	if (pointers_init(&have, list.elements, list.n, keep) < 0 ||
		pointers_init(&want, ruleset->always_allow, ruleset->n_always_allow, false) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < ruleset->n_always_allow; i++)
		if (ruleset->always_allow[i].sources.family == family)
			want.items[want.n++] = &ruleset->always_allow[i];
	if (compare_elements(&have, &want, &difference) < 0)
		return -ENOMEM;
	/* What comes may let in who is let in by what goes. */
	ruleset->interim |= add->n > 0 && (!keep || remove->n > 0);
	if (there && !keep)
		status = elements_flush(transaction, set);
	if (status == 0)
		status = elements_change(
			transaction, NFT_MSG_DELSETELEM, set, remove->items, remove->n);
	return status < 0
		? status
		: elements_change(transaction, NFT_MSG_NEWSETELEM, set, add->items, add->n);
}

static int install_grants(struct transaction *transaction, struct ruleset *ruleset,
	const struct element_list *there, const struct ruleset_state *state, bool keep)
{
	const struct element_list none = {};
	const struct element_list *wanted = ruleset->grants;

	if (!(keep && state->sets[SET_GRANT_RANGES4]))
		ruleset->interim |=
			elements_include(wanted->elements, wanted->n, SET_GRANT_RANGES4);
	if (!(keep && state->sets[SET_GRANT_RANGES6]))
		ruleset->interim |=
			elements_include(wanted->elements, wanted->n, SET_GRANT_RANGES6);
	return mend_grants(transaction, keep ? there : &none, wanted);
}

/* A trial's elements are made anew: its end may have moved. */
static int install_trial(struct transaction *transaction, const struct ruleset *ruleset, bool there)
{
	int status = there ? elements_flush(transaction, SET_TRIAL) : 0;

	if (status < 0 || ruleset->audit || ruleset->trial_ms == 0)
		return status;
	return elements_add_trial(transaction, ruleset->trial_ms);
}

/* Sessions and flows of a table that can't be mended move to the one that replaces it. */
static int carry_sessions(
	struct netlink *netlink, struct transaction *transaction, const struct ruleset_state *state)
{
	static const enum gate_set sets[] = { SET_SESSIONS4, SET_SESSIONS6, SET_FLOWS4,
		SET_FLOWS6 };

	for (size_t i = 0; i < N_ELEMENTS(sets); i++) {
		_cleanup_(flow_list_done) struct flow_list flows = {};
		int status;

		if (!state->readable[sets[i]])
			continue;
		status = elements_read_flows(netlink, sets[i], &flows);
		if (status == 0)
			status = elements_change_flows(
				transaction, NFT_MSG_NEWSETELEM, sets[i], flows.flows, flows.n);
		if (status < 0)
			return status;
	}
	return 0;
}

static size_t count_ranges(const struct ruleset *ruleset)
{
	size_t n = ruleset->n_always_allow;

	for (size_t i = 0; i < ruleset->grants->n; i++)
		n += !address_range_is_single(&ruleset->grants->elements[i].sources);
	return n;
}

/* Rules come last: they depend on which sets are new. */
int install_build(struct netlink *netlink, struct transaction *transaction, struct ruleset *ruleset,
	const struct element_list *there, const struct ruleset_state *state)
{
	bool keep = ruleset_can_keep(state, ruleset);
	int status;

	status = ruleset_build(transaction, ruleset, state);
	if (status == 0)
		status = install_ports(netlink, transaction, SET_MANAGED_TCP, ruleset->tcp,
			ruleset->n_tcp, keep && state->sets[SET_MANAGED_TCP]);
	if (status == 0)
		status = install_ports(netlink, transaction, SET_MANAGED_UDP, ruleset->udp,
			ruleset->n_udp, keep && state->sets[SET_MANAGED_UDP]);
	if (status == 0)
		status = install_always_allow(netlink, transaction, ruleset, AF_INET,
			keep && state->sets[SET_ALWAYS_ALLOW4]);
	if (status == 0)
		status = install_always_allow(netlink, transaction, ruleset, AF_INET6,
			keep && state->sets[SET_ALWAYS_ALLOW6]);
	if (status == 0)
		status = install_grants(transaction, ruleset, there, state, keep);
	if (status == 0)
		status = install_trial(transaction, ruleset, keep && state->sets[SET_TRIAL]);
	if (status == 0 && state->present && !keep)
		status = carry_sessions(netlink, transaction, state);
	if (count_ranges(ruleset) > INTERIM_RANGES_MAX)
		ruleset->interim = false;
	return status < 0 ? status : ruleset_build_rules(transaction, ruleset);
}

int install_change_grants(struct transaction *transaction, const struct element *remove,
	size_t n_remove, const struct element *add, size_t n_add)
{
	_cleanup_(pointers_done) struct pointers going = {}, coming = {};
	int status;

	if (pointers_init(&going, remove, n_remove, true) < 0 ||
		pointers_init(&coming, add, n_add, true) < 0)
		return -ENOMEM;
	pointers_sort(&going);
	pointers_sort(&coming);
	status = change_grants(transaction, NFT_MSG_DELSETELEM, &going);
	return status < 0 ? status : change_grants(transaction, NFT_MSG_NEWSETELEM, &coming);
}
