/* SPDX-License-Identifier: GPL-3.0-or-later */

/* iptables' matches and targets, as iptables-nft puts them into nf_tables. */

#include <string.h>

#include <arpa/inet.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_connlimit.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_recent.h>
#include <linux/netfilter/xt_state.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/rtnetlink.h>

#include "nft/machine.h"

#define STATE_BITS_NEW XT_CONNTRACK_STATE_BIT(IP_CT_NEW)

/* A port is known of this host's side: where a first packet goes, where an answer comes from. */
static enum truth port_is_within(
	const struct probe *probe, bool is_source, uint16_t first, uint16_t last)
{
	if (first == 0 && last == UINT16_MAX)
		return TRUTH_YES;
	if (probe->is_answer && !is_source)
		return truth_of(first <= PROBE_CLIENT_PORT && PROBE_CLIENT_PORT <= last);
	if (probe->port == 0 || is_source != probe->is_answer)
		return TRUTH_MAYBE;
	return truth_of(first <= probe->port && probe->port <= last);
}

static enum truth both(enum truth a, enum truth b)
{
	return a < b ? a : b;
}

static enum truth match_tcp(const struct probe *probe, const void *info)
{
	const struct xt_tcp *tcp = info;
	enum truth source = port_is_within(probe, true, tcp->spts[0], tcp->spts[1]);
	enum truth port = port_is_within(probe, false, tcp->dpts[0], tcp->dpts[1]);
	uint8_t sent = probe->is_answer ? 0x12 : 0x02; /* SYN, ACK */
	enum truth flags = truth_of((sent & tcp->flg_mask) == tcp->flg_cmp);

	if (probe->l4proto != IPPROTO_TCP)
		return TRUTH_NO;
	if (tcp->invflags & XT_TCP_INV_SRCPT)
		source = truth_not(source);
	if (tcp->invflags & XT_TCP_INV_DSTPT)
		port = truth_not(port);
	if (tcp->invflags & XT_TCP_INV_FLAGS)
		flags = truth_not(flags);
	return both(both(source, port), both(flags, tcp->option ? TRUTH_MAYBE : TRUTH_YES));
}

static enum truth match_udp(const struct probe *probe, const void *info)
{
	const struct xt_udp *udp = info;
	enum truth source = port_is_within(probe, true, udp->spts[0], udp->spts[1]);
	enum truth port = port_is_within(probe, false, udp->dpts[0], udp->dpts[1]);

	if (probe->l4proto != IPPROTO_UDP)
		return TRUTH_NO;
	if (udp->invflags & XT_UDP_INV_SRCPT)
		source = truth_not(source);
	if (udp->invflags & XT_UDP_INV_DSTPT)
		port = truth_not(port);
	return both(source, port);
}

static enum truth match_multiport(const struct probe *probe, const void *info)
{
	const struct xt_multiport_v1 *ports = info;
	uint8_t known = probe->is_answer ? XT_MULTIPORT_SOURCE : XT_MULTIPORT_DESTINATION;
	enum truth found = TRUTH_NO;

	for (unsigned i = 0; i < ports->count && i < XT_MULTI_PORTS; i++) {
		uint16_t first = ports->ports[i], last = first;
		enum truth within;

		if (ports->pflags[i] && i + 1 < XT_MULTI_PORTS)
			last = ports->ports[++i];
		within = port_is_within(probe, probe->is_answer, first, last);
		found = within > found ? within : found;
	}
	if (ports->flags != known)
		found = ports->flags == XT_MULTIPORT_EITHER && found == TRUTH_YES ? TRUTH_YES
										  : TRUTH_MAYBE;
	return ports->invert ? truth_not(found) : found;
}

static enum truth state_is_among(const struct probe *probe, unsigned bits)
{
	switch (probe->tracking) {
	case TRACKING_NOT_YET:
		return truth_of(bits & XT_CONNTRACK_STATE_INVALID);
	case TRACKING_ESTABLISHED:
		return bits & XT_CONNTRACK_STATE_DNAT && probe->is_translated
			? TRUTH_MAYBE
			: truth_of(bits & XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED));
	case TRACKING_NEW:
		if (probe->is_translated && (bits & XT_CONNTRACK_STATE_DNAT))
			return TRUTH_YES;
		return truth_of(bits & STATE_BITS_NEW);
	case TRACKING_UNKNOWN:
		break;
	}
	return bits & (STATE_BITS_NEW | XT_CONNTRACK_STATE_UNTRACKED) ? TRUTH_MAYBE : TRUTH_NO;
}

static enum truth match_conntrack(const struct probe *probe, const void *info)
{
	const struct xt_conntrack_mtinfo2 *conntrack = info;
	enum truth found = state_is_among(probe, conntrack->state_mask);

	/* The alias bit says that it was written as -m state. */
	if ((conntrack->match_flags & ~XT_CONNTRACK_STATE_ALIAS) != XT_CONNTRACK_STATE)
		return TRUTH_MAYBE;
	return conntrack->invert_flags & XT_CONNTRACK_STATE ? truth_not(found) : found;
}

static enum truth match_state(const struct probe *probe, const void *info)
{
	return state_is_among(probe, ((const struct xt_state_info *)info)->statemask);
}

/* The probe comes from some host to this one, or the other way. */
static enum truth match_addrtype(const struct probe *probe, const void *info)
{
	const struct xt_addrtype_info_v1 *types = info;
	unsigned from = probe->is_answer ? RTN_LOCAL : RTN_UNICAST;
	unsigned to = probe->is_answer ? RTN_UNICAST : RTN_LOCAL;
	enum truth found = TRUTH_YES;

	if (types->dest)
		found = truth_of(
			((types->dest >> to) & 1) != !!(types->flags & XT_ADDRTYPE_INVERT_DEST));
	if (types->source)
		found = both(found,
			truth_of(((types->source >> from) & 1) !=
				!!(types->flags & XT_ADDRTYPE_INVERT_SOURCE)));
	return types->flags & (XT_ADDRTYPE_LIMIT_IFACE_IN | XT_ADDRTYPE_LIMIT_IFACE_OUT)
		? both(found, TRUTH_MAYBE)
		: found;
}

/* Whom a list has seen too often: not who comes first. Who had to knock before: who knows. */
static enum truth match_recent(const struct probe *probe, const void *info)
{
	const struct xt_recent_mtinfo *recent = info;
	enum truth found = recent->check_set & XT_RECENT_SET ? TRUTH_YES
		: recent->hit_count > 1                      ? TRUTH_NO
							     : TRUTH_MAYBE;

	(void)probe;
	return recent->invert ? truth_not(found) : found;
}

/* Whoever has too many connections: not who comes first. */
static enum truth match_connlimit(const struct probe *probe, const void *info)
{
	const struct xt_connlimit_info *connections = info;

	(void)probe;
	return truth_of((connections->limit == 0) != !!(connections->flags & XT_CONNLIMIT_INVERT));
}

/* IPv6 extension headers: it has none. */
static enum truth match_never(const struct probe *probe, const void *info)
{
	(void)probe, (void)info;
	return TRUTH_NO;
}

static enum truth match_always(const struct probe *probe, const void *info)
{
	(void)probe, (void)info;
	return TRUTH_YES;
}

static const struct {
	const char *name;
	uint32_t revision_min, revision_max;
	uint32_t n_bytes;
	enum truth (*match)(const struct probe *probe, const void *info);
} matches[] = {
	{ "tcp", 0, 0, sizeof(struct xt_tcp), match_tcp },
	{ "udp", 0, 0, sizeof(struct xt_udp), match_udp },
	{ "multiport", 1, 1, sizeof(struct xt_multiport_v1), match_multiport },
	{ "conntrack", 2, 3, sizeof(struct xt_conntrack_mtinfo2), match_conntrack },
	{ "state", 0, 0, sizeof(struct xt_state_info), match_state },
	{ "addrtype", 1, 1, sizeof(struct xt_addrtype_info_v1), match_addrtype },
	{ "recent", 0, 1, sizeof(struct xt_recent_mtinfo), match_recent },
	{ "connlimit", 1, 1, sizeof(struct xt_connlimit_info), match_connlimit },
	{ "rt", 0, 0, 0, match_never },
	{ "frag", 0, 0, 0, match_never },
	{ "hbh", 0, 0, 0, match_never },
	{ "dst", 0, 0, 0, match_never },
	{ "comment", 0, UINT32_MAX, 0, match_always },
	{ "limit", 0, UINT32_MAX, 0, match_always },
};

enum truth compat_match(const struct probe *probe, const char *name, uint32_t revision,
	const void *info, uint32_t n_bytes)
{
	for (size_t i = 0; name && i < N_ELEMENTS(matches); i++)
		if (strcmp(matches[i].name, name) == 0 && revision >= matches[i].revision_min &&
			revision <= matches[i].revision_max && n_bytes >= matches[i].n_bytes)
			return matches[i].match(probe, info);
	return TRUTH_MAYBE;
}

static struct action translation(
	const char *name, uint32_t revision, const void *info, uint32_t n_bytes)
{
	const struct nf_nat_ipv4_multi_range_compat *ranges = info;
	const struct nf_nat_range *range = info;
	struct action action = { .kind = ACTION_TRANSLATE };

	/* Of 0 the first revision has IPv4's own form; REDIRECT's for IPv6 is not told apart by
	 * it, but by its length. */
	if (revision == 0 && n_bytes < sizeof(*range)) {
		if (n_bytes >= sizeof(*ranges) &&
			(ranges->range[0].flags & NF_NAT_RANGE_PROTO_SPECIFIED))
			action.port = ntohs(ranges->range[0].min.all);
	} else if (n_bytes >= sizeof(*range) && (range->flags & NF_NAT_RANGE_PROTO_SPECIFIED)) {
		action.port = ntohs(range->min_proto.all);
	}
	action.stays = strcmp(name, "REDIRECT") == 0;
	return action;
}

void compat_target(const char *name, uint32_t revision, const void *info, uint32_t n_bytes,
	struct rule_result *result)
{
	static const char *const passing[] = { "LOG", "NFLOG", "ULOG", "AUDIT", "CONNSECMARK",
		"SECMARK", "TCPMSS", "TOS", "DSCP", "TTL", "HL", "CHECKSUM", "CLASSIFY", "SET",
		"TRACE", "LED", "RATEEST", "TCPOPTSTRIP" };
	struct action action = { .kind = ACTION_ASK };

	for (size_t i = 0; name && i < N_ELEMENTS(passing); i++)
		if (strcmp(passing[i], name) == 0)
			return;
	if (name && (strcmp(name, "MARK") == 0 || strcmp(name, "CONNMARK") == 0)) {
		result->marks = true;
		return;
	}
	if (name && (strcmp(name, "CT") == 0 || strcmp(name, "NOTRACK") == 0)) {
		result->exempts = true;
		return;
	}
	if (name && strcmp(name, "REJECT") == 0)
		action.kind = ACTION_DROP;
	else if (name &&
		(strcmp(name, "REDIRECT") == 0 || strcmp(name, "DNAT") == 0 ||
			strcmp(name, "NETMAP") == 0))
		action = translation(name, revision, info, n_bytes);
	result->actions[result->n_actions++] = action;
}
