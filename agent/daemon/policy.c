/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>

#include "agent/common/times.h"
#include "agent/daemon/policy.h"

static void add_document(struct policies *policies, const struct document *document)
{
	for (size_t i = 0; document && i < document->n_ports; i++)
		policies->rules[policies->n_rules++] =
			(struct policy_rule){ &document->ports[i], NULL };
}

int policies_init(struct policies *policies, const struct config *config,
	const struct document *signed_policy, const struct document *stand_in)
{
	size_t n = config->n_ports + (signed_policy ? signed_policy->n_ports : 0) +
		(stand_in ? stand_in->n_ports : 0);

	policies->n_rules = 0;
	policies->rules = calloc(n + 1, sizeof(*policies->rules));
	if (!policies->rules)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_ports; i++)
		policies->rules[policies->n_rules++] =
			(struct policy_rule){ &config->ports[i].rule, &config->ports[i] };
	add_document(policies, signed_policy);
	add_document(policies, stand_in);
	return 0;
}

void policies_done(struct policies *policies)
{
	free(policies->rules);
	memset(policies, 0, sizeof(*policies));
}

static bool ports_include(const struct port_range *ports, uint16_t port)
{
	return ports->first <= port && port <= ports->last;
}

static bool rule_names(const struct policy_rule *rule, uint16_t port, unsigned protocols)
{
	return ports_include(&rule->rule->ports, port) && (rule->rule->protocols & protocols);
}

bool policies_manage(const struct policies *policies, uint16_t port, unsigned protocol)
{
	for (size_t i = 0; i < policies->n_rules; i++)
		if (rule_names(&policies->rules[i], port, protocol))
			return true;
	return false;
}

/* Where a rule comes from, for messages. */
static const char *rule_source(const struct policy_rule *rule, char text[static 96])
{
	if (rule->section)
		snprintf(text, 96, "[port %s] of the configuration", rule->section->name);
	else
		snprintf(text, 96, "the control plane's policy");
	return text;
}

static int check_sources(
	const struct policy_rule *rule, const struct document_port *wanted, struct refusal *refusal)
{
	char prefix[PREFIX_STRING_MAX], source[96];

	for (size_t i = 0; i < wanted->n_prefixes; i++)
		if (!prefix_is_within(
			    &wanted->prefixes[i], rule->rule->prefixes, rule->rule->n_prefixes))
			return refuse(refusal, REFUSAL_SOURCE_NOT_ALLOWED,
				"source %s at port %u is not within what %s allows",
				prefix_format(&wanted->prefixes[i], prefix), wanted->ports.first,
				rule_source(rule, source));
	return 0;
}

/*
 * Two lengths count: what the document says, which no clock changes; and how far its end is from
 * now, so that a beginning in the future postpones nothing past the bound. A signer's clock may be
 * a little ahead of ours.
 */
static int check_duration(int64_t max_duration, const char *source, const struct document *grant,
	int64_t now, struct refusal *refusal)
{
	int64_t start = grant->not_before > grant->issued_at ? grant->not_before : grant->issued_at;
	int64_t duration = grant->expires - start;
	char asked[TIME_STRING_MAX], allowed[TIME_STRING_MAX];

	if (duration > max_duration)
		return refuse(refusal, REFUSAL_DURATION_TOO_LONG,
			"%s is longer than the %s that %s allows", duration_format(duration, asked),
			duration_format(max_duration, allowed), source);
	duration = grant->expires - now;
	if (now > 0 && duration > max_duration + CLOCK_LEEWAY_SECONDS)
		return refuse(refusal, REFUSAL_DURATION_TOO_LONG,
			"it would end %s from now, later than the %s that %s allows",
			duration_format(duration, asked), duration_format(max_duration, allowed),
			source);
	return 0;
}

int key_check_ports(const struct trust_key *key, const struct document_port *ports, size_t n,
	struct refusal *refusal)
{
	for (size_t i = 0; key->narrowed_ports && i < n; i++) {
		const struct document_port *wanted = &ports[i];
		unsigned allowed = 0;

		for (size_t k = 0; k < key->n_ports; k++)
			if (ports_include(&key->ports[k].ports, wanted->ports.first))
				allowed |= key->ports[k].protocols;
		if (wanted->protocols & ~allowed)
			return refuse(refusal, REFUSAL_PORT_NOT_MANAGED,
				"key %s has no say over port %u/%s (jit_ports of the trust file)",
				key->kid, wanted->ports.first,
				protocol_format(wanted->protocols & ~allowed));
	}
	return 0;
}

static int check_key(const struct trust_key *key, const struct document *grant, int64_t now,
	struct refusal *refusal)
{
	int status = key_check_ports(key, grant->ports, grant->n_ports, refusal);
	char source[192];

	if (status != 0 || key->max_duration == 0)
		return status;
	snprintf(source, sizeof(source), "key %s (jit_max_duration of the trust file)", key->kid);
	return check_duration(key->max_duration, source, grant, now, refusal);
}

int policies_check_ports(
	const struct policies *policies, const struct document *grant, struct refusal *refusal)
{
	for (size_t i = 0; i < grant->n_ports; i++) {
		const struct document_port *wanted = &grant->ports[i];
		unsigned managed = 0;

		for (size_t k = 0; k < policies->n_rules; k++)
			if (ports_include(&policies->rules[k].rule->ports, wanted->ports.first))
				managed |= policies->rules[k].rule->protocols;
		if (wanted->protocols & ~managed)
			return refuse(refusal, REFUSAL_PORT_NOT_MANAGED,
				"port %u/%s is not managed on this machine: no policy names it",
				wanted->ports.first, protocol_format(wanted->protocols & ~managed));
	}
	return 0;
}

int policies_check(const struct policies *policies, const struct trust_key *key,
	const struct document *grant, int64_t now, struct refusal *refusal)
{
	char source[96];
	int status = policies_check_ports(policies, grant, refusal);

	if (status == 0 && key)
		status = check_key(key, grant, now, refusal);
	for (size_t i = 0; i < grant->n_ports && status == 0; i++) {
		const struct document_port *wanted = &grant->ports[i];

		for (size_t k = 0; k < policies->n_rules && status == 0; k++) {
			const struct policy_rule *rule = &policies->rules[k];

			if (!rule_names(rule, wanted->ports.first, wanted->protocols))
				continue;
			status = check_sources(rule, wanted, refusal);
			if (status == 0)
				status = check_duration(rule->rule->max_duration,
					rule_source(rule, source), grant, now, refusal);
		}
	}
	return status;
}

static int compare_port_ranges(const void *a, const void *b)
{
	const struct port_range *x = a, *y = b;

	return (int)x->first - (int)y->first;
}

void port_ranges_merge(struct port_range_list *list)
{
	size_t n = 0;

	if (list->n > 0)
		qsort(list->ranges, list->n, sizeof(*list->ranges), compare_port_ranges);
	for (size_t i = 0; i < list->n; i++) {
		const struct port_range *range = &list->ranges[i];
		struct port_range *last = n > 0 ? &list->ranges[n - 1] : NULL;

		if (last && range->first <= last->last) {
			if (range->last > last->last)
				last->last = range->last;
		} else {
			list->ranges[n++] = *range;
		}
	}
	list->n = n;
}

int policies_ports(const struct policies *policies, unsigned protocol, struct port_range_list *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->n_allocated = policies->n_rules + 1;
	ret->ranges = calloc(ret->n_allocated, sizeof(*ret->ranges));
	if (!ret->ranges)
		return -ENOMEM;
	for (size_t i = 0; i < policies->n_rules; i++)
		if (policies->rules[i].rule->protocols & protocol)
			ret->ranges[ret->n++] = policies->rules[i].rule->ports;
	port_ranges_merge(ret);
	return 0;
}

/* Appends to the document those ports of the list that no policy names. */
static int add_unnamed(const struct policies *policies, unsigned protocol,
	const struct port_range_list *list, struct document *document)
{
	struct document_port *last = NULL, *ports;

	for (size_t i = 0; i < list->n; i++)
		for (uint32_t port = list->ranges[i].first; port <= list->ranges[i].last; port++) {
			if (policies_manage(policies, (uint16_t)port, protocol))
				continue;
			if (last && port == last->ports.last + 1U) {
				last->ports.last = (uint16_t)port;
				continue;
			}
			ports = reallocarray(
				document->ports, document->n_ports + 1, sizeof(*ports));
			if (!ports)
				return -ENOMEM;
			document->ports = ports;
			last = &ports[document->n_ports++];
			*last = (struct document_port){
				.ports = { (uint16_t)port, (uint16_t)port },
				.protocols = protocol,
			};
		}
	return 0;
}

int policies_stand_in(const struct policies *policies, const struct port_range_list *tcp,
	const struct port_range_list *udp, struct document **ret)
{
	struct document *document = calloc(1, sizeof(*document));
	int status = -ENOMEM;

	if (document) {
		document->kind = DOCUMENT_POLICY;
		status = add_unnamed(policies, PROTOCOL_TCP, tcp, document);
	}
	if (status == 0)
		status = add_unnamed(policies, PROTOCOL_UDP, udp, document);
	if (status < 0) {
		document_free(document);
		return status;
	}
	*ret = document;
	return 0;
}

static int compare_ports(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int compare_sources(const void *a, const void *b)
{
	const struct address_range *x = a, *y = b;

	return address_compare(&x->first, &y->first);
}

/* The sources that any section allows at a port, disjoint: of nested prefixes the outer one. */
static size_t sources_at(const struct policies *policies, uint8_t family, uint16_t port,
	unsigned protocol, struct address_range *ranges)
{
	size_t n = 0, n_merged = 0;

	for (size_t i = 0; i < policies->n_rules; i++) {
		const struct policy_rule *rule = &policies->rules[i];

		if (!rule->section || !rule_names(rule, port, protocol))
			continue;
		for (size_t k = 0; k < rule->section->n_always_allow; k++)
			n += prefix_range(&rule->section->always_allow[k], family, &ranges[n]);
	}
	qsort(ranges, n, sizeof(*ranges), compare_sources);
	for (size_t i = 0; i < n; i++) {
		struct address_range *last = n_merged > 0 ? &ranges[n_merged - 1] : NULL;

		if (last && address_compare(&ranges[i].first, &last->last) <= 0) {
			if (address_compare(&ranges[i].last, &last->last) > 0)
				last->last = ranges[i].last;
		} else {
			ranges[n_merged++] = ranges[i];
		}
	}
	return n_merged;
}

/*
 * Sections may overlap in ports and in prefixes; elements may not. So the ports are cut where any
 * section begins or ends, and for each piece the sources are merged.
 */
static int always_allow_of_protocol(const struct policies *policies, unsigned protocol,
	uint32_t *bounds, struct address_range *ranges, struct element_list *list)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	size_t n_bounds = 0;

	for (size_t i = 0; i < policies->n_rules; i++) {
		bounds[n_bounds++] = policies->rules[i].rule->ports.first;
		bounds[n_bounds++] = policies->rules[i].rule->ports.last + 1u;
	}
	qsort(bounds, n_bounds, sizeof(*bounds), compare_ports);
	for (size_t i = 0; i + 1 < n_bounds; i++) {
		if (bounds[i] == bounds[i + 1])
			continue;
		for (size_t f = 0; f < N_ELEMENTS(families); f++) {
			size_t n = sources_at(policies, families[f], bounds[i], protocol, ranges);
			struct element *grown = reallocarray(
				list->elements, list->n + n + 1, sizeof(*list->elements));

			if (!grown)
				return -ENOMEM;
			list->elements = grown;
			for (size_t k = 0; k < n; k++)
				list->elements[list->n++] = (struct element){
					.sources = ranges[k],
					.l4proto = protocol == PROTOCOL_TCP ? IPPROTO_TCP
									    : IPPROTO_UDP,
					.ports = { bounds[i], bounds[i + 1] - 1 },
				};
		}
	}
	return 0;
}

int policies_always_allow(const struct policies *policies, struct element_list *ret)
{
	_cleanup_(freep) struct address_range *ranges = NULL;
	_cleanup_(freep) uint32_t *bounds = NULL;
	size_t n_prefixes = 0;
	int status;

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < policies->n_rules; i++)
		if (policies->rules[i].section)
			n_prefixes += policies->rules[i].section->n_always_allow;
	ranges = calloc(n_prefixes + 1, sizeof(*ranges));
	bounds = calloc(2 * policies->n_rules + 1, sizeof(*bounds));
	if (!ranges || !bounds)
		return -ENOMEM;
	status = always_allow_of_protocol(policies, PROTOCOL_TCP, bounds, ranges, ret);
	if (status == 0)
		status = always_allow_of_protocol(policies, PROTOCOL_UDP, bounds, ranges, ret);
	if (status < 0)
		element_list_done(ret);
	return status;
}

const struct config_port *policies_find_always_allow(const struct policies *policies,
	uint8_t family, const struct address *source, uint16_t port, unsigned protocol)
{
	for (size_t i = 0; i < policies->n_rules; i++) {
		const struct policy_rule *rule = &policies->rules[i];

		if (!rule->section || !rule_names(rule, port, protocol))
			continue;
		for (size_t k = 0; k < rule->section->n_always_allow; k++)
			if (prefix_contains_address(
				    &rule->section->always_allow[k], family, source))
				return rule->section;
	}
	return NULL;
}

bool policies_kill_on_expiry(const struct policies *policies, uint16_t port, unsigned protocol)
{
	for (size_t i = 0; i < policies->n_rules; i++)
		if (policies->rules[i].section &&
			policies->rules[i].section->on_expiry == SESSIONS_KILL &&
			rule_names(&policies->rules[i], port, protocol))
			return true;
	return false;
}
