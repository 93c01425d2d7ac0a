/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Covers nest, and the set has them in the preorder of their nesting: so one pass with a stack
 * finds the parts. On the stack are the covers around the place that was reached, each with the one
 * that counts among it and those around it.
 *
 *   place                |                 stack, inside last
 *   /8    |---------------------------|    /8 counts
 *   /16        |--------------|            /8 counts, which ends later
 *   /24             |---------|            /24 counts, which ends later still
 */

#include "agent/daemon/access_range.h"
#include "agent/daemon/access_set.h"
#include "agent/daemon/access_sweep.h"

/* The range, and a prefix of each length from 0 to 128. */
#define DEPTH_MAX (ADDRESS_BYTES_MAX * 8 + 2)

struct level {
	struct address last;
	const struct access *winner; /* or NULL */
};

struct sweep {
	const struct access *range;
	struct address from; /* what is before it is told */
	struct level levels[DEPTH_MAX];
	size_t depth;
	int (*callback)(const struct access *part, void *userdata);
	void *userdata;
};

/* Which of two covers of an address counts; a may be NULL. */
static const struct access *winner_of(const struct access *a, const struct access *b)
{
	if (!a)
		return b;
	if (a->deadline_usec != b->deadline_usec)
		return a->deadline_usec > b->deadline_usec ? a : b;

	return a->tag <= b->tag ? a : b;
}

/* What is before every cover of a range, and what is behind them. */
static struct access key_before(const struct access *range)
{
	struct access key = *range;

	key.deadline_usec = UINT64_MAX;
	key.tag = 0;
	return key;
}

static struct access key_behind(const struct access *range)
{
	struct access key = *range;

	key.deadline_usec = 0;
	key.tag = UINT32_MAX;
	return key;
}

/* Which lengths a family has, as bits; the longest length of all is left out: nothing lies in it.
 */
static const uint64_t *covers_lengths(const struct access_covers *covers, uint8_t family)
{
	return family == AF_INET ? covers->lengths4 : covers->lengths6;
}

void access_covers_note_length(struct access_covers *covers, const struct access *cover)
{
	uint8_t family = cover->service.family;
	unsigned n_bits = address_common_bits(family, &cover->first, &cover->last);
	uint64_t *lengths = family == AF_INET ? covers->lengths4 : covers->lengths6;

	if (covers->set.n_items == 0)
		lengths[0] = lengths[1] = 0;
	if (n_bits < 128)
		lengths[n_bits / 64] |= UINT64_C(1) << n_bits % 64;
}

/* The longest length that there is and that is shorter than n_bits, or -1. */
static int length_below(const uint64_t lengths[2], unsigned n_bits)
{
	for (int i = 1; i >= 0; i--) {
		uint64_t shorter = lengths[i];

		if (n_bits < 64 * ((unsigned)i + 1))
			shorter &= n_bits > 64 * (unsigned)i ? (UINT64_C(1) << n_bits % 64) - 1 : 0;
		if (shorter)
			return 64 * i + 63 - __builtin_clzll(shorter);
	}

	return -1;
}

/*
 * The cover that counts among those which contain the range and are longer. Going back from the
 * range in preorder, a cover that does not contain it lies in a subtree beside it, and with it all
 * up to the prefix that both are in: the search goes on in front of that subtree, at a length that
 * there is.
 */
static const struct access *winner_around(
	const struct access_covers *covers, const struct access *range)
{
	uint8_t family = range->service.family;
	unsigned n_bits = address_common_bits(family, &range->first, &range->last);
	const struct access *winner = NULL, *cover;
	struct access_cursor cursor;
	struct access key = *range;
	int length;

	while ((length = length_below(covers_lengths(covers, family), n_bits)) >= 0) {
		address_widen(family, &range->first, (unsigned)length, &key.first, &key.last);
		key = key_behind(&key);
		cursor = access_set_seek(&covers->set, &key);
		access_cursor_previous(&cursor);
		cover = access_cursor_item(&cursor);
		if (!cover || !access_same_service(cover, range))
			break;

		if (!access_contains(cover, range)) {
			n_bits = address_common_bits(family, &cover->first, &range->first) + 1;
			continue;
		}
		key = key_before(cover);
		cursor = access_set_seek(&covers->set, &key);
		cover = access_cursor_item(&cursor);
		winner = winner_of(winner, cover);
		n_bits = address_common_bits(family, &cover->first, &cover->last);
	}

	return winner;
}

/* Tells the part from the place reached up to last. */
static int sweep_tell(struct sweep *sweep, const struct address *last)
{
	const struct access *winner = sweep->levels[sweep->depth - 1].winner;
	struct access part = {
		.service = sweep->range->service,
		.first = sweep->from,
		.last = *last,
	};

	if (!winner)
		return 0;
	part.deadline_usec = winner->deadline_usec;
	part.tag = winner->tag;

	return sweep->callback(&part, sweep->userdata);
}

static void sweep_enter(struct sweep *sweep, const struct access *cover)
{
	const struct access *around = sweep->levels[sweep->depth - 1].winner;

	sweep->levels[sweep->depth++] = (struct level){
		.last = cover->last,
		.winner = winner_of(around, cover),
	};
}

/* Leaves the levels that end before an address; all where it is NULL. */
static int sweep_leave(struct sweep *sweep, const struct address *address)
{
	uint8_t family = sweep->range->service.family;
	const struct address *last;
	int r;

	while (sweep->depth > 0) {
		last = &sweep->levels[sweep->depth - 1].last;
		if (address && address_compare(last, address) >= 0)
			return 0;
		/* An inner level that ended at the same address has told this one's end. */
		if (address_compare(&sweep->from, last) <= 0) {
			r = sweep_tell(sweep, last);
			if (r < 0)
				return r;
			if (!address_next(family, last, &sweep->from))
				return 0;
		}
		sweep->depth--;
	}

	return 0;
}

/* Goes to a cover: tells what is before it, and takes it on the stack. */
static int sweep_visit(struct sweep *sweep, const struct access *cover)
{
	struct address before;
	int r;

	r = sweep_leave(sweep, &cover->first);
	if (r < 0)
		return r;

	if (address_compare(&sweep->from, &cover->first) < 0) {
		address_previous(cover->service.family, &cover->first, &before);
		r = sweep_tell(sweep, &before);
		if (r < 0)
			return r;
		sweep->from = cover->first;
	}
	sweep_enter(sweep, cover);

	return 0;
}

int access_sweep(const struct access_covers *covers, const struct access *range,
	int (*callback)(const struct access *part, void *userdata), void *userdata)
{
	struct sweep sweep;
	struct access key = key_before(range);
	struct access_cursor cursor = access_set_seek(&covers->set, &key);
	const struct access *cover, *next;
	int r;

	sweep.range = range;
	sweep.from = range->first;
	sweep.levels[0] = (struct level){ range->last, winner_around(covers, range) };
	sweep.depth = 1;
	sweep.callback = callback;
	sweep.userdata = userdata;

	for (cover = access_cursor_item(&cursor); cover && access_contains(range, cover);
		cover = next) {
		r = sweep_visit(&sweep, cover);
		if (r < 0)
			return r;

		access_cursor_next(&cursor);
		next = access_cursor_item(&cursor);
		if (next && access_same_range(next, cover)) {
			/* A thousand people behind one address: only the first of them counts. */
			key = key_behind(cover);
			cursor = access_set_seek(&covers->set, &key);
			next = access_cursor_item(&cursor);
		}
	}

	return sweep_leave(&sweep, NULL);
}
