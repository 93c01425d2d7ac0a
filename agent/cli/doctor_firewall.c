/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Do other programs' rules refuse what a grant opens, or lead a managed port elsewhere? */

#include <errno.h>
#include <string.h>

#include "agent/cli/doctor.h"
#include "agent/cli/output.h"

#define PORTS_JUDGED_MAX 256 /* each counts once for a protocol and a family */
#define ALIASES_MAX 64

static const char *protocol_word(uint8_t l4proto)
{
	return l4proto == IPPROTO_TCP ? "tcp" : "udp";
}

/* All that may be granted: each prefix counts by its first address. */
struct reach {
	unsigned outcomes; /* of all sources */
	bool some_refused; /* a source that is refused for certain */
	bool is_cut;
	struct judgement refusal; /* one of them, or what may be one */
	struct judgement away; /* by which it leaves this host */
};

static void judge_source(const struct survey *survey, uint8_t family, uint8_t l4proto,
	uint16_t port, const struct address *source, struct reach *reach)
{
	struct judgement judgement;

	survey_judge(survey, family, l4proto, port, source, &judgement);
	reach->outcomes |= judgement.outcomes;
	reach->is_cut |= judgement.is_cut;
	if (judgement.outcomes & JUDGED_LEAVES)
		reach->away = judgement;
	if (judgement.outcomes == JUDGED_REFUSED && !reach->some_refused) {
		reach->some_refused = true;
		reach->refusal = judgement;
	} else if ((judgement.outcomes & JUDGED_REFUSED) && !reach->refusal.refused_by[0]) {
		reach->refusal = judgement;
	}
}

/* A grant must satisfy every rule that names its port. */
static bool may_be_granted(
	const struct survey *survey, uint16_t port, uint8_t l4proto, const struct prefix *prefix)
{
	unsigned protocol = l4proto == IPPROTO_TCP ? PROTOCOL_TCP : PROTOCOL_UDP;

	for (size_t i = 0; i < survey->n_managed; i++) {
		const struct managed_port *managed = &survey->managed[i];

		if (managed->ports.first <= port && port <= managed->ports.last &&
			(managed->protocols & protocol) &&
			!prefix_is_within(prefix, managed->allowed, managed->n_allowed))
			return false;
	}
	return true;
}

/* False where something listens there, but for the other family alone. */
static bool family_is_served(
	const struct survey *survey, uint8_t family, uint8_t l4proto, uint16_t port)
{
	bool is_served = true;

	for (size_t i = 0; i < survey->listeners.n; i++) {
		const struct listener *listener = &survey->listeners.listeners[i];

		if (listener->port != port || listener->l4proto != l4proto ||
			listener_is_loopback(listener))
			continue;
		if (listener_takes(listener, family))
			return true;
		is_served = false;
	}
	return is_served;
}

static void judge_sources(const struct survey *survey, const struct managed_port *managed,
	uint16_t port, uint8_t family, uint8_t l4proto, struct reach *reach)
{
	for (size_t i = 0; i < managed->n_allowed; i++) {
		const struct prefix *prefix = &managed->allowed[i];
		bool is_any = prefix->length == 0;
		struct address_range range;

		if (!prefix_range(prefix, family, &range) ||
			!may_be_granted(survey, port, l4proto, prefix))
			continue;
		judge_source(survey, family, l4proto, port,
			is_any ? stranger_address(family) : &range.first, reach);
		/* Where a stranger is refused, are there others who are not? */
		if (is_any && reach->some_refused)
			judge_source(survey, family, l4proto, port, NULL, reach);
	}
}

static void advise_letting_in(
	struct findings *findings, const char *place, uint16_t port, const char *protocol)
{
	if (strstr(place, " firewalld_policy_drop,"))
		findings_advise(findings,
			"firewalld lets nothing in, nor out, in panic mode: sudo firewall-cmd "
			"--panic-off");
	else if (strstr(place, " firewalld,"))
		findings_advise(findings,
			"let it through there too: sudo firewall-cmd --permanent --add-port=%u/%s, "
			"and sudo firewall-cmd --reload",
			port, protocol);
	else
		findings_advise(findings,
			"let it through there too: for ufw, ufw allow %u/%s; otherwise \"nft -a "
			"list ruleset\" shows the rule",
			port, protocol);
}

/* Returns true where the finding is that all is well, which is told once for all. */
static bool tell_reach(struct findings *findings, uint8_t family, uint8_t l4proto, uint16_t port,
	const struct reach *reach)
{
	const char *protocol = protocol_word(l4proto);
	const char *version = family == AF_INET ? "IPv4" : "IPv6";
	const char *when = reach->refusal.is_early ? ", before the gate sees it"
		: reach->refusal.is_answer         ? ", in what it answers"
						   : "";

	if (reach->is_cut) {
		findings_add(findings, "firewall", VERDICT_UNKNOWN,
			"there are too many rules to follow: whether they refuse %u/%s (%s) is not "
			"known",
			port, protocol, version);
		findings_advise(findings, "try: a grant, and a connection");
		return false;
	}
	if (!(reach->outcomes & JUDGED_REFUSED) && !reach->away.translated_by[0])
		return true;
	if (!(reach->outcomes & JUDGED_REFUSED)) {
		findings_add(findings, "firewall", VERDICT_UNKNOWN,
			"%s leads %u/%s (%s) on to another host or a container: what rules for "
			"forwarding refuse there is not looked into",
			reach->away.translated_by, port, protocol, version);
		findings_advise(findings, "try: a grant, and a connection");
		return false;
	}
	if (!reach->some_refused) {
		findings_add(findings, "firewall", VERDICT_UNKNOWN,
			"%s may refuse %u/%s (%s)%s: it depends on what can't be told by reading",
			reach->refusal.refused_by, port, protocol, version, when);
		findings_advise(findings,
			"look there (nft -a list ruleset), or try: a grant, and "
			"ssh");
		return false;
	}
	findings_add(findings, "firewall",
		reach->outcomes == JUDGED_REFUSED ? VERDICT_PROBLEM : VERDICT_WARNING,
		"%s refuses %u/%s (%s)%s: %s", reach->refusal.refused_by, port, protocol, version,
		when,
		reach->outcomes == JUDGED_REFUSED
			? "a grant opens nothing"
			: "of the sources that may be granted, only some get through");
	if (reach->refusal.is_answer)
		findings_advise(findings,
			"let answers out there (ct state established accept): \"nft -a list "
			"ruleset\" shows the rule");
	else
		advise_letting_in(findings, reach->refusal.refused_by, port, protocol);
	return false;
}

/* The first of the ports for which not all is well. Returns true where all is. */
static bool tell_ports(const struct survey *survey, struct findings *findings,
	const struct managed_port *managed, uint8_t family, uint8_t l4proto, size_t *n_left)
{
	for (unsigned port = managed->ports.first; port <= managed->ports.last; port++) {
		struct reach reach = {};

		if (*n_left == 0)
			return false;
		(*n_left)--;
		if (!family_is_served(survey, family, l4proto, (uint16_t)port))
			continue;
		judge_sources(survey, managed, (uint16_t)port, family, l4proto, &reach);
		if (!firewall_has_forwarding_rules(survey->firewall, family))
			reach.away.translated_by[0] = '\0';
		if (!tell_reach(findings, family, l4proto, (uint16_t)port, &reach))
			return false;
	}
	return true;
}

/* Returns true where all is well. */
static bool tell_port(const struct survey *survey, struct findings *findings,
	const struct managed_port *managed, size_t *n_left)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	static const struct {
		unsigned protocol;
		uint8_t l4proto;
	} protocols[] = { { PROTOCOL_TCP, IPPROTO_TCP }, { PROTOCOL_UDP, IPPROTO_UDP } };
	bool well = true;

	for (size_t p = 0; p < N_ELEMENTS(protocols); p++)
		for (size_t f = 0; f < N_ELEMENTS(families); f++)
			if ((managed->protocols & protocols[p].protocol) && survey->has_address[f])
				well &= tell_ports(survey, findings, managed, families[f],
					protocols[p].l4proto, n_left);
	return well;
}

/* How destination NAT is followed: 1 it is, 0 it is not, -1 it will be looked up. */
static int destination_nat_is_followed(const struct survey *survey)
{
	if (survey->status)
		return json_is_true(
			json_object_get(json_object_get(survey->status, "gate"), "destinationNat"));
	if (!survey->config || survey->config->destination_nat == DESTINATION_NAT_AUTO)
		return -1;
	return survey->config->destination_nat == DESTINATION_NAT_YES;
}

static void tell_alias(const struct survey *survey, struct findings *findings)
{
	for (size_t i = 0; i < survey->n_managed && i < ALIASES_MAX; i++) {
		const struct managed_port *managed = &survey->managed[i];
		uint8_t l4proto = managed->protocols & PROTOCOL_TCP ? IPPROTO_TCP : IPPROTO_UDP;
		char place[PLACE_MAX];

		if (!firewall_find_alias(survey->firewall, l4proto, managed->ports.first, place))
			continue;
		findings_add(findings, "nat", VERDICT_PROBLEM,
			"%s leads another port to %u/%s, past the gate, which does not follow "
			"destination NAT",
			place, managed->ports.first, protocol_word(l4proto));
		findings_advise(findings, "destination_nat = auto in %s, and sudo jitgate reload",
			survey->config_path);
	}
}

static void tell_nat(const struct survey *survey, struct findings *findings)
{
	bool has_nat =
		firewall_has_destination_nat(survey->firewall) || firewall_has_legacy_table("nat");
	int is_followed = destination_nat_is_followed(survey);

	if (!has_nat)
		return;
	if (is_followed != 0) {
		findings_add(findings, "nat", VERDICT_OK,
			"this host does destination NAT (containers?), and the gate %s it: a "
			"published port is judged by the port the sender used",
			is_followed > 0 ? "follows" : "will follow");
		return;
	}
	findings_add(findings, "nat", VERDICT_WARNING,
		"this host does destination NAT (containers?), which the gate does not follow: "
		"sessions of a published port that is managed are refused when their grant ends");
	findings_advise(findings, "destination_nat = auto in %s, and sudo jitgate reload",
		survey->config_path);
	tell_alias(survey, findings);
}

/* What is not nf_tables' is not read here. */
static bool tell_unread(const struct survey *survey, struct findings *findings)
{
	bool well = true;

	if (firewall_has_legacy_table("filter") || firewall_has_legacy_table("raw") ||
		firewall_has_legacy_table("mangle")) {
		findings_add(findings, "firewall", VERDICT_UNKNOWN,
			"iptables-legacy has rules of its own, which are not read here");
		findings_advise(findings,
			"sudo iptables-legacy-save and sudo ip6tables-legacy-save "
			"show whether they refuse a managed port");
		well = false;
	}
	for (size_t i = 0; i < survey->links.n; i++)
		if (survey->links.links[i].has_xdp) {
			findings_add(findings, "firewall", VERDICT_UNKNOWN,
				"an XDP program on %s sees packets before any rule: what it drops "
				"can't be told here",
				survey->links.links[i].name);
			findings_advise(
				findings, "bpftool net show dev %s", survey->links.links[i].name);
			well = false;
		}
	return well;
}

void doctor_firewall(const struct survey *survey, struct findings *findings)
{
	size_t n_left = PORTS_JUDGED_MAX;
	bool well;

	if (survey->firewall_status == -EPERM) {
		findings_add(findings, "firewall", VERDICT_UNKNOWN,
			"what other programs' rules refuse is root's alone to see");
		findings_advise(findings, "sudo jitgate doctor");
		return;
	}
	if (survey->firewall_status < 0) {
		findings_add(findings, "firewall", VERDICT_UNKNOWN,
			"other programs' rules can't be read: %s",
			strerror(-survey->firewall_status));
		findings_advise(findings, "sudo nft list ruleset may tell");
		return;
	}
	well = tell_unread(survey, findings);
	for (size_t i = 0; i < survey->n_managed; i++)
		well &= tell_port(survey, findings, &survey->managed[i], &n_left);
	if (n_left == 0) {
		findings_add(findings, "firewall", VERDICT_UNKNOWN,
			"more ports are managed than are looked into: whether other rules refuse "
			"the last of them is not known");
		findings_advise(findings, "try: a grant, and a connection");
	}
	if (well && survey->n_managed > 0)
		findings_add(findings, "firewall", VERDICT_OK,
			"no other rules on this host refuse what a grant opens");
	tell_nat(survey, findings);
}
