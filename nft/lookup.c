/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Sets of three kinds (nft(8)): of single keys; of intervals, which are elements where one begins
 * and elements where one ends; of concatenated intervals, each element having both ends of each
 * field.
 */

#include <libnftnl/set.h>
#include <linux/netfilter/nf_tables.h>

#include "cleanup.h"
#include "nft/lookup.h"

#ifndef NFT_SET_ELEM_CATCHALL /* Linux 5.13 */
#define NFT_SET_ELEM_CATCHALL 0x2
#endif

struct search {
	const struct registers *registers;
	uint32_t from;
	uint32_t n_key;
	bool by_interval; /* elements begin and end intervals */
	const uint8_t *fields; /* lengths of a concatenation's */
	uint32_t n_fields;
	const uint8_t *key; /* NULL: not all of it is known */

	enum truth found;
	struct nftnl_set_elem *best; /* by_interval: the last that is not above the key */
	struct nftnl_set_elem *catchall;
	void (*on_verdict)(int32_t verdict, const char *chain, void *userdata);
	void *userdata;
};

static uint32_t element_flags(struct nftnl_set_elem *element)
{
	return nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_FLAGS)
		? nftnl_set_elem_get_u32(element, NFTNL_SET_ELEM_FLAGS)
		: 0;
}

static const uint8_t *element_key(
	const struct search *search, struct nftnl_set_elem *element, uint16_t attribute)
{
	uint32_t n = 0;
	const uint8_t *key = nftnl_set_elem_is_set(element, attribute)
		? nftnl_set_elem_get(element, attribute, &n)
		: NULL;

	return n >= search->n_key ? key : NULL;
}

static void find(struct search *search, enum truth truth, struct nftnl_set_elem *element)
{
	if (truth > search->found)
		search->found = truth;
	if (truth == TRUTH_NO || !search->on_verdict ||
		!nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_VERDICT))
		return;
	search->on_verdict((int32_t)nftnl_set_elem_get_u32(element, NFTNL_SET_ELEM_VERDICT),
		nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_CHAIN)
			? nftnl_set_elem_get_str(element, NFTNL_SET_ELEM_CHAIN)
			: NULL,
		search->userdata);
}

/* Each field begins at a 32-bit register. */
static enum truth compare_fields(
	const struct search *search, const uint8_t *first, const uint8_t *last)
{
	enum truth within = TRUTH_YES;
	uint32_t at = 0;

	for (uint32_t i = 0; i < search->n_fields && at < search->n_key; i++) {
		uint32_t n = search->fields[i];
		const uint8_t *value;
		enum truth truth = TRUTH_MAYBE;

		if (n == 0 || n > search->n_key - at)
			return TRUTH_MAYBE;
		value = search->from >= NFT_REG32_00
			? registers_known(search->registers, search->from + at / 4, n)
			: registers_known(search->registers,
				  NFT_REG32_00 + (search->from - NFT_REG_1) * 4 + at / 4, n);
		if (value)
			truth = truth_of(memcmp(value, first + at, n) >= 0 &&
				memcmp(value, last + at, n) <= 0);
		within = truth < within ? truth : within;
		at += (n + 3) / 4 * 4;
	}
	return within;
}

/* Where an interval begins at the key at which another ends, the beginning counts. */
static void find_interval(struct search *search, struct nftnl_set_elem *element, const uint8_t *key)
{
	const uint8_t *best =
		search->best ? element_key(search, search->best, NFTNL_SET_ELEM_KEY) : NULL;
	int order;

	if (!search->key) {
		if (!(element_flags(element) & NFT_SET_ELEM_INTERVAL_END))
			find(search, TRUTH_MAYBE, element);
		return;
	}
	if (memcmp(key, search->key, search->n_key) > 0)
		return;
	order = best ? memcmp(key, best, search->n_key) : 1;
	if (order > 0 || (order == 0 && !(element_flags(element) & NFT_SET_ELEM_INTERVAL_END)))
		search->best = element;
}

static int on_element(struct nftnl_set_elem *element, void *userdata)
{
	struct search *search = userdata;
	const uint8_t *key, *end;

	if (element_flags(element) & NFT_SET_ELEM_CATCHALL) {
		search->catchall = element;
		return 0;
	}
	key = element_key(search, element, NFTNL_SET_ELEM_KEY);
	end = element_key(search, element, NFTNL_SET_ELEM_KEY_END);
	if (!key)
		find(search, TRUTH_MAYBE, element);
	else if (search->n_fields >= 2 && end)
		find(search, compare_fields(search, key, end), element);
	else if (search->by_interval && search->n_fields < 2)
		find_interval(search, element, key);
	else
		find(search,
			registers_compare(
				search->registers, search->from, NFT_CMP_EQ, key, search->n_key),
			element);
	return 0;
}

enum truth lookup(const struct nftnl_set *set, bool is_cut, const struct registers *registers,
	uint32_t from, void (*on_verdict)(int32_t verdict, const char *chain, void *userdata),
	void *userdata)
{
	/* The library's iteration takes it without const, and changes nothing. */
	struct nftnl_set *elements = (struct nftnl_set *)(uintptr_t)set;
	struct search search = {
		.registers = registers,
		.from = from,
		.n_key = nftnl_set_get_u32(set, NFTNL_SET_KEY_LEN),
		.on_verdict = on_verdict,
		.userdata = userdata,
	};
	uint32_t n_fields = 0;

	if (search.n_key == 0 || search.n_key > REGISTERS_BYTES)
		return TRUTH_MAYBE;
	search.key = registers_known(registers, from, search.n_key);
	if (nftnl_set_is_set(set, NFTNL_SET_DESC_CONCAT)) {
		search.fields = nftnl_set_get_data(set, NFTNL_SET_DESC_CONCAT, &n_fields);
		search.n_fields = n_fields;
	}
	search.by_interval = nftnl_set_is_set(set, NFTNL_SET_FLAGS) &&
		(nftnl_set_get_u32(set, NFTNL_SET_FLAGS) & NFT_SET_INTERVAL);
	nftnl_set_elem_foreach(elements, on_element, &search);
	if (search.best && !(element_flags(search.best) & NFT_SET_ELEM_INTERVAL_END))
		find(&search, TRUTH_YES, search.best);
	if (search.catchall && search.found != TRUTH_YES)
		find(&search, search.found == TRUTH_NO ? TRUTH_YES : TRUTH_MAYBE, search.catchall);
	return is_cut && search.found == TRUTH_NO ? TRUTH_MAYBE : search.found;
}
