/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>

#include "agent/daemon/grant.h"

int grant_new(struct document *document, enum grant_origin origin, struct grant **ret)
{
	_cleanup_(grant_freep) struct grant *grant = calloc(1, sizeof(*grant));

	if (!grant)
		return -ENOMEM;
	grant->origin = origin;
	grant->deadline_usec = UINT64_MAX;
	if (document->key) {
		grant->kid = strdup(document->key->kid);
		if (!grant->kid)
			return -ENOMEM;
	}
	/* Keys go when the trust file is read again. */
	document->key = NULL;
	grant->document = document;
	*ret = TAKE_PTR(grant);
	return 0;
}

struct grant *grant_free(struct grant *grant)
{
	if (!grant)
		return NULL;
	sd_event_source_disable_unref(grant->timer);
	document_free(grant->document);
	free(grant->kid);
	free(grant);
	return NULL;
}

const char *grant_state_name(enum grant_state state)
{
	static const char *const names[] = {
		[GRANT_SCHEDULED] = "scheduled",
		[GRANT_ACTIVE] = "active",
		[GRANT_EXPIRED] = "expired",
		[GRANT_REVOKED] = "revoked",
	};

	return names[state];
}

const char *grant_origin_name(enum grant_origin origin)
{
	return origin == GRANT_LOCAL ? "local" : "signed";
}

bool grant_is_live(const struct grant *grant)
{
	return grant->state == GRANT_SCHEDULED || grant->state == GRANT_ACTIVE;
}

/* Without nbf it begins at once, though the signer's clock be ahead of ours. */
bool grant_is_ahead(const struct document *document, int64_t seconds)
{
	return document->not_before != document->issued_at && document->not_before > seconds;
}

void grant_set_times(struct grant *grant, const struct moment *now)
{
	const struct document *document = grant->document;
	uint64_t deadline_usec = moment_deadline(now, document->expires);

	grant->starts_usec = 0;
	if (grant_is_ahead(document, moment_seconds(now)))
		grant->starts_usec = moment_deadline(now, document->not_before);
	if (deadline_usec < grant->deadline_usec)
		grant->deadline_usec = deadline_usec;
}

static size_t add_covers(const struct grant *grant, const struct document_port *port,
	const struct prefix *prefix, struct access *covers)
{
	static const struct {
		unsigned protocol;
		uint8_t l4proto;
	} protocols[] = { { PROTOCOL_TCP, IPPROTO_TCP }, { PROTOCOL_UDP, IPPROTO_UDP } };
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	size_t n = 0;

	for (size_t f = 0; f < N_ELEMENTS(families); f++) {
		struct address_range range;

		if (!prefix_range(prefix, families[f], &range))
			continue;
		for (size_t p = 0; p < N_ELEMENTS(protocols); p++) {
			if (!(port->protocols & protocols[p].protocol))
				continue;
			covers[n++] = (struct access){
				.service = { families[f], protocols[p].l4proto, port->ports.first },
				.first = range.first,
				.last = range.last,
				.deadline_usec = grant->deadline_usec,
				.tag = grant->tag,
			};
		}
	}
	return n;
}

int grant_covers(const struct grant *grant, struct access **ret, size_t *ret_n)
{
	const struct document *document = grant->document;
	struct access *covers;
	size_t n = 0;

	for (size_t i = 0; i < document->n_ports; i++)
		n += document->ports[i].n_prefixes;
	covers = calloc(4 * n + 1, sizeof(*covers)); /* two protocols in two families */
	if (!covers)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < document->n_ports; i++)
		for (size_t k = 0; k < document->ports[i].n_prefixes; k++)
			n += add_covers(grant, &document->ports[i], &document->ports[i].prefixes[k],
				covers + n);
	*ret = covers;
	*ret_n = n;
	return 0;
}

bool grant_includes(const struct grant *grant, uint8_t family, const struct address *source,
	uint16_t port, unsigned protocol)
{
	for (size_t i = 0; i < grant->document->n_ports; i++) {
		const struct document_port *asked = &grant->document->ports[i];

		if (asked->ports.first != port || !(asked->protocols & protocol))
			continue;
		for (size_t k = 0; k < asked->n_prefixes; k++)
			if (prefix_contains_address(&asked->prefixes[k], family, source))
				return true;
	}
	return false;
}
