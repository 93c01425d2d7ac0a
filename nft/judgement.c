/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include <libnftnl/chain.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>

#include "nft/judgement.h"
#include "nft/machine.h"
#include "nft/rules.h"

#ifndef NF_NETDEV_INGRESS
#define NF_NETDEV_INGRESS 0
#endif
#define NETDEV_EGRESS 1 /* NF_NETDEV_EGRESS: Linux 5.16 */
#define INET_INGRESS 5 /* NF_INET_INGRESS: an enumerator that older headers lack */

#define DEPTH_MAX 16 /* the kernel's own (NFT_JUMP_STACK_SIZE) */
#define RULES_FOLLOWED_MAX 200000
#define BASE_CHAINS_MAX 512
#define TRACKED_FROM (-200) /* NF_IP_PRI_CONNTRACK */

/* How a chain may end. */
enum {
	END_CONTINUE = 1 << 0, /* the chain that led there goes on; of a base chain, its policy */
	END_ACCEPT = 1 << 1,
	END_DROP = 1 << 2,
};

/* How well a refusal explains that a packet is refused. */
enum certainty {
	MAY_MATCH,
	MATCHES, /* but another may have been there first */
	REFUSES,
};

struct walk {
	const struct firewall *firewall;
	struct probe probe;
	size_t n_rules;
	struct judgement *judgement;
	enum certainty refusal; /* of the one that refused_by names */
	/* What a chain for destination NAT has done. */
	bool translates;
	bool translates_certainly;
	bool leaves;
	uint16_t new_port;
	bool is_early;
};

static const char *family_name(uint32_t family)
{
	switch (family) {
	case NFPROTO_INET:
		return "inet";
	case NFPROTO_IPV4:
		return "ip";
	case NFPROTO_IPV6:
		return "ip6";
	case NFPROTO_NETDEV:
		return "netdev";
	}
	return "?";
}

static void describe(char place[static PLACE_MAX], const struct firewall_chain *chain,
	const struct nftnl_rule *rule)
{
	int n = snprintf(place, PLACE_MAX, "table %s %s, chain %s", family_name(chain->family),
		chain->table, chain->name);

	if (n < 0 || n >= PLACE_MAX)
		return;
	if (rule)
		snprintf(place + n, PLACE_MAX - n, ", rule with handle %llu",
			(unsigned long long)nftnl_rule_get_u64(rule, NFTNL_RULE_HANDLE));
	else
		snprintf(place + n, PLACE_MAX - n, " (policy drop)");
}

/* The surest is named, and of those the first. */
static void note_refusal(struct walk *walk, const struct firewall_chain *chain,
	const struct nftnl_rule *rule, enum certainty certainty)
{
	if (walk->judgement->refused_by[0] && certainty <= walk->refusal)
		return;
	describe(walk->judgement->refused_by, chain, rule);
	walk->judgement->is_early = walk->is_early;
	walk->judgement->is_answer = walk->probe.is_answer;
	walk->refusal = certainty;
}

static void note_translation(struct walk *walk, const struct firewall_chain *chain,
	const struct nftnl_rule *rule, const struct action *action, bool certain)
{
	if (!walk->translates)
		describe(walk->judgement->translated_by, chain, rule);
	walk->translates_certainly = certain && !walk->translates;
	walk->translates = true;
	walk->leaves |= !action->stays;
	walk->new_port = action->port;
}

static unsigned follow_chain(
	struct walk *walk, const struct firewall_chain *chain, size_t depth, bool certain);

static unsigned follow(struct walk *walk, const struct firewall_chain *chain, const char *name,
	size_t depth, bool certain)
{
	const struct firewall_chain *next =
		firewall_find_chain(walk->firewall, chain->family, chain->table, name);

	if (!next || depth >= DEPTH_MAX) {
		walk->judgement->is_cut = true;
		return END_CONTINUE | END_ACCEPT | END_DROP;
	}
	return follow_chain(walk, next, depth + 1, certain);
}

/* What an action leads to; END_CONTINUE: the next rule follows. ret_returns: or the chain ends. */
static unsigned act(struct walk *walk, const struct firewall_chain *chain,
	const struct nftnl_rule *rule, const struct action *action, size_t depth, bool certain,
	bool matches, bool *ret_returns)
{
	unsigned ends;

	switch (action->kind) {
	case ACTION_ACCEPT:
		return END_ACCEPT;
	case ACTION_DROP:
		note_refusal(walk, chain, rule, certain ? REFUSES : matches ? MATCHES : MAY_MATCH);
		return END_DROP;
	case ACTION_RETURN:
		*ret_returns = true;
		return 0;
	case ACTION_JUMP:
		return follow(walk, chain, action->chain, depth, certain);
	case ACTION_GOTO:
		ends = follow(walk, chain, action->chain, depth, certain);
		*ret_returns |= ends & END_CONTINUE;
		return ends & ~(unsigned)END_CONTINUE;
	case ACTION_TRANSLATE:
		note_translation(walk, chain, rule, action, certain);
		return END_ACCEPT;
	case ACTION_ASK:
		note_refusal(walk, chain, rule, MAY_MATCH);
		return END_ACCEPT | END_DROP | END_CONTINUE;
	case ACTION_CONTINUE:
		break;
	}
	return END_CONTINUE;
}

static void take_effects(struct walk *walk, const struct rule_result *result)
{
	if (result->marks)
		walk->probe.is_marked = true;
	if (result->exempts)
		walk->probe.tracking = TRACKING_UNKNOWN;
	if (result->readdresses)
		walk->probe.port = 0;
}

/* Returns how the rule may end, END_CONTINUE where the next one may follow. */
static unsigned follow_rule(struct walk *walk, const struct firewall_chain *chain,
	const struct nftnl_rule *rule, size_t depth, bool *certain, bool *ret_returns)
{
	struct rule_result result;
	unsigned ends;

	rule_run(walk->firewall, chain, rule, &walk->probe, &result);
	if (result.matches == TRUTH_NO)
		return END_CONTINUE;
	take_effects(walk, &result);
	/* Without NAT's memory of it: what listens there answers from another place. */
	if (result.readdresses) {
		note_refusal(walk, chain, rule, MAY_MATCH);
		walk->judgement->outcomes |= JUDGED_REFUSED;
	}
	if (result.n_actions == 0)
		return END_CONTINUE;
	ends = result.matches == TRUTH_MAYBE ? END_CONTINUE : 0;
	if (result.matches == TRUTH_MAYBE || result.n_actions > 1)
		*certain = false;
	for (size_t i = 0; i < result.n_actions; i++)
		ends |= act(walk, chain, rule, &result.actions[i], depth, *certain,
			result.matches == TRUTH_YES && result.n_actions == 1, ret_returns);
	return ends;
}

static unsigned follow_chain(
	struct walk *walk, const struct firewall_chain *chain, size_t depth, bool certain)
{
	unsigned ends = 0;

	for (size_t i = 0; i < chain->n_rules; i++) {
		bool certain_here = certain, returns = false;
		unsigned next;

		if (++walk->n_rules > RULES_FOLLOWED_MAX) {
			walk->judgement->is_cut = true;
			return END_CONTINUE | END_ACCEPT | END_DROP;
		}
		next = follow_rule(walk, chain, chain->rules[i], depth, &certain_here, &returns);
		ends |= next & ~(unsigned)END_CONTINUE;
		if (returns)
			ends |= END_CONTINUE;
		if (!(next & END_CONTINUE))
			return ends;
		/* Where the rule might have ended it, what follows happens maybe. */
		certain = certain && certain_here && next == END_CONTINUE && !returns;
	}
	return ends | END_CONTINUE;
}

static bool device_matches(const struct firewall_chain *chain, const struct probe *probe)
{
	const char *device = nftnl_chain_is_set(chain->chain, NFTNL_CHAIN_DEV)
		? nftnl_chain_get_str(chain->chain, NFTNL_CHAIN_DEV)
		: NULL;
	const char *const *devices = nftnl_chain_is_set(chain->chain, NFTNL_CHAIN_DEVICES)
		? nftnl_chain_get_array(chain->chain, NFTNL_CHAIN_DEVICES)
		: NULL;

	if (!probe->interface || (!device && !devices))
		return true;
	if (device && strcmp(device, probe->interface) == 0)
		return true;
	for (; devices && *devices; devices++)
		if (strcmp(*devices, probe->interface) == 0)
			return true;
	return false;
}

/* Where a base chain stands on the packet's way. */
enum {
	STAGE_NONE = -1,
	STAGE_NETDEV,
	STAGE_INGRESS,
	STAGE_PREROUTING,
	STAGE_INPUT,
	STAGE_OUTPUT, /* from here on it is the answer */
	STAGE_POSTROUTING,
	STAGE_EGRESS,
};

static bool is_of_device(int stage)
{
	return stage < STAGE_PREROUTING || stage == STAGE_EGRESS;
}

/* Chains of NAT see what begins a connection, and no answers. */
static int chain_stage(const struct firewall_chain *chain, const struct probe *probe)
{
	if (!chain->is_base)
		return STAGE_NONE;
	if (chain->family == NFPROTO_NETDEV && !device_matches(chain, probe))
		return STAGE_NONE;
	if (chain->family == NFPROTO_NETDEV)
		return chain->hook == NF_NETDEV_INGRESS ? STAGE_NETDEV
			: chain->hook == NETDEV_EGRESS  ? STAGE_EGRESS
							: STAGE_NONE;
	if (chain->family != NFPROTO_INET &&
		chain->family != (probe->family == AF_INET ? NFPROTO_IPV4 : NFPROTO_IPV6))
		return STAGE_NONE;
	if (chain->family == NFPROTO_INET && chain->hook == INET_INGRESS)
		return device_matches(chain, probe) ? STAGE_INGRESS : STAGE_NONE;
	switch (chain->hook) {
	case NF_INET_PRE_ROUTING:
		return STAGE_PREROUTING;
	case NF_INET_LOCAL_IN:
		return STAGE_INPUT;
	case NF_INET_LOCAL_OUT:
		return chain->is_nat ? STAGE_NONE : STAGE_OUTPUT;
	case NF_INET_POST_ROUTING:
		return chain->is_nat ? STAGE_NONE : STAGE_POSTROUTING;
	}
	return STAGE_NONE;
}

struct station {
	const struct firewall_chain *chain;
	int stage;
};

static int compare_stations(const void *a, const void *b)
{
	const struct station *x = a, *y = b;

	if (x->stage != y->stage)
		return x->stage < y->stage ? -1 : 1;
	if (x->chain->priority != y->chain->priority)
		return x->chain->priority < y->chain->priority ? -1 : 1;
	return 0;
}

static enum tracking_state tracking_at(const struct walk *walk, const struct station *station)
{
	if (walk->probe.tracking == TRACKING_UNKNOWN)
		return TRACKING_UNKNOWN;
	if (station->stage < STAGE_PREROUTING)
		return TRACKING_NOT_YET;
	if ((station->stage == STAGE_PREROUTING || station->stage == STAGE_OUTPUT) &&
		station->chain->priority < TRACKED_FROM)
		return TRACKING_NOT_YET;
	return station->stage < STAGE_OUTPUT ? TRACKING_NEW : TRACKING_ESTABLISHED;
}

/* The packet goes on to another port of this host, or to another host. */
static void translate(struct walk *walk)
{
	if (!walk->translates)
		return;
	walk->translates = false;
	walk->judgement->translated_port = walk->new_port;
	if (walk->leaves) {
		walk->judgement->outcomes |= JUDGED_LEAVES;
		return;
	}
	walk->probe.is_translated = true;
	if (walk->translates_certainly)
		walk->probe.port = walk->new_port ? walk->new_port : walk->probe.port;
	else
		walk->probe.tracking = TRACKING_UNKNOWN;
	if (!walk->translates_certainly && walk->new_port)
		walk->probe.port = 0;
}

/* Returns false where the packet comes no further. */
static bool pass_station(struct walk *walk, const struct station *station, bool certain)
{
	const struct firewall_chain *chain = station->chain;
	unsigned ends;

	walk->probe.tracking = tracking_at(walk, station);
	walk->probe.is_answer = station->stage >= STAGE_OUTPUT;
	/* On its way out, the port that was translated becomes again what it was. */
	if (station->stage > STAGE_OUTPUT && walk->probe.is_translated)
		walk->probe.port = 0;
	walk->is_early = station->stage < STAGE_PREROUTING ||
		(station->stage == STAGE_PREROUTING && chain->priority < NF_IP_PRI_RAW);
	/* Of an interface that is not known, only some have the chain. */
	if (is_of_device(station->stage) && !walk->probe.interface)
		certain = false;
	ends = follow_chain(walk, chain, 0, certain);
	if (ends & END_CONTINUE) {
		ends |= chain->drops ? END_DROP : END_ACCEPT;
		if (chain->drops)
			note_refusal(walk, chain, NULL,
				certain && ends == (END_CONTINUE | END_DROP) ? REFUSES : MATCHES);
	}
	if (ends & END_DROP)
		walk->judgement->outcomes |= JUDGED_REFUSED;
	if (is_of_device(station->stage) && !walk->probe.interface)
		ends |= END_ACCEPT;
	translate(walk);
	return ends & END_ACCEPT;
}

static size_t find_stations(
	const struct firewall *firewall, const struct probe *probe, struct station *stations)
{
	size_t n = 0;

	for (size_t i = 0; i < firewall->n_chains && n < BASE_CHAINS_MAX; i++) {
		int stage = chain_stage(&firewall->chains[i], probe);

		if (stage != STAGE_NONE && (stage < STAGE_OUTPUT || probe->l4proto == IPPROTO_TCP))
			stations[n++] = (struct station){ &firewall->chains[i], stage };
	}
	qsort(stations, n, sizeof(*stations), compare_stations);
	return n;
}

void firewall_judge(
	const struct firewall *firewall, const struct probe *probe, struct judgement *ret)
{
	struct station stations[BASE_CHAINS_MAX];
	struct walk walk = { .firewall = firewall, .probe = *probe, .judgement = ret };
	size_t n = find_stations(firewall, probe, stations);

	*ret = (struct judgement){};
	for (size_t i = 0; i < n; i++) {
		/* What has gone to another host does not come to this one's sockets. */
		if (stations[i].stage >= STAGE_INPUT && walk.leaves && walk.translates_certainly)
			return;
		if (!pass_station(&walk, &stations[i], ret->outcomes == 0))
			return;
	}
	ret->is_cut |= firewall->is_cut;
	if (!(walk.leaves && walk.translates_certainly))
		ret->outcomes |= JUDGED_PASSES;
}

bool firewall_has_destination_nat(const struct firewall *firewall)
{
	for (size_t i = 0; i < firewall->n_chains; i++)
		if (firewall->chains[i].is_base && firewall->chains[i].is_nat &&
			firewall->chains[i].hook == NF_INET_PRE_ROUTING)
			return true;
	return false;
}

bool firewall_has_forwarding_rules(const struct firewall *firewall, uint8_t family)
{
	for (size_t i = 0; i < firewall->n_chains; i++) {
		const struct firewall_chain *chain = &firewall->chains[i];

		if (chain->is_base && chain->hook == NF_INET_FORWARD &&
			(chain->family == NFPROTO_INET ||
				chain->family ==
					(family == AF_INET ? NFPROTO_IPV4 : NFPROTO_IPV6)) &&
			(chain->drops || chain->n_rules > 0))
			return true;
	}
	return false;
}

bool firewall_find_alias(const struct firewall *firewall, uint8_t l4proto, uint16_t port,
	char place[static PLACE_MAX])
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };

	for (size_t f = 0; f < N_ELEMENTS(families); f++) {
		const struct probe probe = {
			.family = families[f],
			.l4proto = l4proto,
			.tracking = TRACKING_NEW,
		};

		for (size_t i = 0; i < firewall->n_chains; i++)
			for (size_t k = 0; k < firewall->chains[i].n_rules; k++) {
				const struct firewall_chain *chain = &firewall->chains[i];
				struct rule_result result;

				rule_run(firewall, chain, chain->rules[k], &probe, &result);
				for (size_t a = 0; a < result.n_actions; a++) {
					if (result.matches == TRUTH_NO ||
						result.actions[a].kind != ACTION_TRANSLATE ||
						!result.actions[a].stays ||
						result.actions[a].port != port)
						continue;
					describe(place, chain, chain->rules[k]);
					return true;
				}
			}
	}
	return false;
}
