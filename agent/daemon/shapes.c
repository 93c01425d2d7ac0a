/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "agent/common/times.h"
#include "agent/daemon/shapes.h"

json_t *shape_time(int64_t seconds)
{
	char text[TIME_STRING_MAX];

	return json_string(time_format_utc(seconds, text));
}

static json_t *shape_prefixes(const struct prefix *prefixes, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		char text[PREFIX_STRING_MAX];

		json_array_append_new(list, json_string(prefix_format(&prefixes[i], text)));
	}
	return list;
}

json_t *shape_ports(const struct document_port *ports, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list,
			json_pack("{s:i, s:s, s:o}", "number", ports[i].ports.first, "protocol",
				protocol_format(ports[i].protocols), "allowedSourceAddressPrefixes",
				shape_prefixes(ports[i].prefixes, ports[i].n_prefixes)));
	return list;
}

/* What is left of it: by the earlier of the two clocks. */
static json_int_t remaining_seconds(const struct grant *grant, const struct moment *now)
{
	if (!grant_is_live(grant) || grant->deadline_usec <= now->boot_usec)
		return 0;
	return (json_int_t)((grant->deadline_usec - now->boot_usec) / USEC_PER_SEC);
}

json_t *shape_grant(const struct grant *grant, const struct moment *now)
{
	const struct document *document = grant->document;

	return json_pack("{s:s, s:s, s:s, s:s*, s:s*, s:s*, s:o, s:o, s:I, s:o, s:I, s:b}", "id",
		document->id, "state", grant_state_name(grant->state), "origin",
		grant_origin_name(grant->origin), "subject", document->subject, "justification",
		document->justification, "issuer", document->issuer, "notBefore",
		shape_time(document->not_before), "expires", shape_time(document->expires),
		"remainingSeconds", remaining_seconds(grant, now), "ports",
		shape_ports(document->ports, document->n_ports), "newConnections",
		(json_int_t)grant->n_connections, "durable", grant->durable);
}

json_t *shape_managed_ports(const struct policies *policies)
{
	json_t *list = json_array();

	for (size_t i = 0; i < policies->n_rules; i++) {
		const struct document_port *rule = policies->rules[i].rule;
		const struct config_port *section = policies->rules[i].section;
		char duration[TIME_STRING_MAX];

		json_array_append_new(list,
			json_pack("{s:s*, s:i, s:i, s:s, s:s, s:o, s:s, s:o, s:s}", "name",
				section ? section->name : NULL, "first", rule->ports.first, "last",
				rule->ports.last, "protocol", protocol_format(rule->protocols),
				"origin", section ? "configuration" : "policy",
				"allowedSourceAddressPrefixes",
				shape_prefixes(rule->prefixes, rule->n_prefixes),
				"maxRequestAccessDuration",
				duration_format(rule->max_duration, duration), "alwaysAllow",
				section ? shape_prefixes(
						  section->always_allow, section->n_always_allow)
					: json_array(),
				"onExpiry",
				section && section->on_expiry == SESSIONS_KILL ? "kill" : "keep"));
	}
	return list;
}

json_t *shape_session(const struct session *session)
{
	char source[PREFIX_STRING_MAX], destination[PREFIX_STRING_MAX];
	const struct flow *flow = &session->flow;

	return json_pack("{s:s*, s:s*, s:s, s:s, s:i, s:s, s:i, s:o}", "grant", session->grant,
		"subject", session->subject, "protocol",
		flow->l4proto == IPPROTO_TCP ? "TCP" : "UDP", "source",
		address_format(flow->family, &flow->remote, source), "sourcePort",
		flow->remote_port, "destination",
		address_format(flow->family, &flow->local, destination), "port", flow->local_port,
		"since", shape_time((int64_t)(session->since_usec / USEC_PER_SEC)));
}

json_t *shape_denied(const struct element *element)
{
	char source[PREFIX_STRING_MAX];

	return json_pack("{s:s, s:i, s:s, s:I}", "source",
		address_format(element->sources.family, &element->sources.first, source), "port",
		element->ports.first, "protocol", element->l4proto == IPPROTO_TCP ? "TCP" : "UDP",
		"packets", (json_int_t)element->n_packets);
}
