/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "agent/daemon/admission.h"
#include "tests/unit/documents.h"

#define CODE_KNOWN 100 /* beside the refusal codes */

static char section_name[] = "ssh";
static struct prefix allowed;
static struct config_port section = { .name = section_name,
	.rule = { .ports = { 22, 22 },
		.protocols = PROTOCOL_TCP,
		.prefixes = &allowed,
		.n_prefixes = 1,
		.max_duration = 3600 } };
static struct config config = { .ports = &section, .n_ports = 1 };
static const uint8_t digest[DOCUMENT_DIGEST_BYTES] = { 1 };
static const uint8_t other_digest[DOCUMENT_DIGEST_BYTES] = { 2 };

struct world {
	struct policies policies;
	struct registry *registry;
	struct admission admission;
};

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	assert_int_equal(prefix_parse("192.0.2.0/24", &allowed), 0);
	assert_int_equal(policies_init(&world->policies, &config, NULL, NULL), 0);
	assert_int_equal(registry_new(&world->registry), 0);
	world->admission = (struct admission){ .policies = &world->policies,
		.registry = world->registry,
		.now = NOW,
		.latest = NOW,
		.max_grants = 10 };
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	policies_done(&world->policies);
	registry_free(world->registry);
	free(world);
	return 0;
}

/* The code, REFUSAL_NONE where it is admitted, or CODE_KNOWN. */
static int judge_digest(
	const struct world *world, const struct document *document, const uint8_t *of)
{
	struct refusal refusal = {};

	switch (admission_judge(&world->admission, document, of, &refusal)) {
	case ADMITTED:
		return REFUSAL_NONE;
	case KNOWN:
		return CODE_KNOWN;
	case REFUSED:
		assert_true(refusal.message[0]);
		return (int)refusal.code;
	}
	fail();
	return -1;
}

static int judge(const struct world *world, const struct document *document)
{
	return judge_digest(world, document, digest);
}

/* Admits it, as the daemon does. */
static struct registry_entry *admit(
	struct world *world, struct document *document, enum grant_state grant_state)
{
	struct registry_entry *entry;

	assert_int_equal(registry_get(world->registry, document->id, &entry), 0);
	entry->has_document = true;
	entry->kind = document->kind;
	memcpy(entry->digest, digest, sizeof(digest));
	if (document->kind == DOCUMENT_GRANT) {
		struct grant *grant = NULL;

		assert_int_equal(grant_new(document, GRANT_SIGNED, &grant), 0);
		grant->state = grant_state;
		assert_int_equal(registry_add_grant(world->registry, entry, grant), 0);
		if (!grant_is_live(grant))
			registry_grant_ended(world->registry, grant, NOW);
	}
	return entry;
}

static void mark_revoked(struct world *world, const char *id)
{
	struct registry_entry *entry;

	assert_int_equal(registry_get(world->registry, id, &entry), 0);
	registry_mark_revoked(world->registry, entry);
}

static void test_the_same_document_is_known(void **state)
{
	static const enum grant_state live[] = { GRANT_SCHEDULED, GRANT_ACTIVE };
	struct world *world = *state;

	for (size_t i = 0; i < N_ELEMENTS(live); i++) {
		const char *id = i ? "active" : "scheduled";
		_cleanup_(document_freep) struct document *again = grant_make(id, NOW + 600);

		assert_int_equal(judge(world, again), REFUSAL_NONE);
		(void)admit(world, grant_make(id, NOW + 600), live[i]);
		assert_int_equal(judge(world, again), CODE_KNOWN);
		assert_int_equal(judge_digest(world, again, other_digest), REFUSAL_DUPLICATE_ID);
		/* Known comes before what might be wrong by now. */
		world->admission.now = NOW - 1;
		assert_int_equal(judge(world, again), CODE_KNOWN);
		world->admission.now = NOW;
	}
}

static void test_an_ended_grant_does_not_come_again(void **state)
{
	struct world *world = *state;
	_cleanup_(document_freep) struct document *expired = grant_make("expired", NOW + 600);
	_cleanup_(document_freep) struct document *revoked = grant_make("revoked", NOW + 600);

	(void)admit(world, grant_make("expired", NOW + 600), GRANT_EXPIRED);
	(void)admit(world, grant_make("revoked", NOW + 600), GRANT_REVOKED);
	/* Its time is not over by the wall clock, which has been set since. */
	assert_int_equal(judge(world, expired), REFUSAL_EXPIRED);
	assert_int_equal(judge(world, revoked), REFUSAL_REVOKED);
	assert_int_equal(judge_digest(world, revoked, other_digest), REFUSAL_DUPLICATE_ID);
}

/* After a restart a revoked grant's document is known, and the grant itself is not kept. */
static void test_a_revoked_grant_that_was_read_back(void **state)
{
	struct world *world = *state;
	_cleanup_(document_freep) struct document *document = grant_make("g", NOW + 600);
	struct registry_entry *entry;

	assert_int_equal(registry_get(world->registry, "g", &entry), 0);
	entry->has_document = true;
	entry->kind = DOCUMENT_GRANT;
	memcpy(entry->digest, digest, sizeof(digest));
	registry_mark_revoked(world->registry, entry);
	assert_int_equal(judge(world, document), REFUSAL_REVOKED);
	assert_int_equal(judge_digest(world, document, other_digest), REFUSAL_DUPLICATE_ID);
}

static void test_clocks(void **state)
{
	struct world *world = *state;
	_cleanup_(document_freep) struct document *document = grant_make("g", NOW + 600);

	world->admission.latest = NOW + 1;
	assert_int_equal(judge(world, document), REFUSAL_CLOCK_BEHIND);
	world->admission.ledger_unread = true;
	assert_int_equal(judge(world, document), REFUSAL_LEDGER_UNREAD);
	world->admission.ledger_unread = false;
	world->admission.latest = NOW;
	assert_int_equal(judge(world, document), REFUSAL_NONE);
	/* Issued in the future: a minute is let pass. */
	document->issued_at = document->not_before = NOW + 60;
	assert_int_equal(judge(world, document), REFUSAL_NONE);
	document->issued_at = document->not_before = NOW + 61;
	assert_int_equal(judge(world, document), REFUSAL_CLOCK_BEHIND);
	document->issued_at = document->not_before = NOW;
	/* It ends when its last second has passed. */
	world->admission.now = world->admission.latest = NOW + 599;
	assert_int_equal(judge(world, document), REFUSAL_NONE);
	world->admission.now = NOW + 600;
	assert_int_equal(judge(world, document), REFUSAL_EXPIRED);
}

static void repeat_prefix(struct document_port *port, size_t n)
{
	port->prefixes = reallocarray(port->prefixes, n, sizeof(*port->prefixes));
	assert_non_null(port->prefixes);
	for (size_t i = 1; i < n; i++)
		port->prefixes[i] = port->prefixes[0];
	port->n_prefixes = n;
}

static void test_capacity(void **state)
{
	struct world *world = *state;
	_cleanup_(document_freep) struct document *document = grant_make("g", NOW + 600);

	(void)admit(world, grant_make("a", NOW + 600), GRANT_ACTIVE);
	world->admission.max_grants = 2;
	assert_int_equal(judge(world, document), REFUSAL_NONE);
	(void)admit(world, grant_make("b", NOW + 600), GRANT_SCHEDULED);
	assert_int_equal(judge(world, document), REFUSAL_CAPACITY);
	/* Those that ended do not count. */
	(void)admit(world, grant_make("c", NOW + 600), GRANT_EXPIRED);
	world->admission.max_grants = 3;
	assert_int_equal(judge(world, document), REFUSAL_NONE);
	/* Prefixes at ports count too: two that are live have one each. */
	repeat_prefix(&document->ports[0], 3 * PREFIXES_PER_GRANT - 2);
	assert_int_equal(judge(world, document), REFUSAL_NONE);
	repeat_prefix(&document->ports[0], 3 * PREFIXES_PER_GRANT - 1);
	assert_int_equal(judge(world, document), REFUSAL_CAPACITY);
	/* In all, so many; but one for each grant. */
	/* At a port of both protocols the kernel has each twice. */
	document->ports[0].protocols = PROTOCOL_ANY;
	assert_int_equal(document_count_prefixes(document), 6 * PREFIXES_PER_GRANT - 2);
	assert_int_equal(admission_prefixes_max(1), PREFIXES_PER_GRANT);
	assert_int_equal(admission_prefixes_max(10000), PREFIXES_LIVE_MAX);
	assert_int_equal(admission_prefixes_max(100000), 100000);
}

/* Each step mends what the step before was refused for; what follows was wrong all along. */
static void test_codes_come_in_their_order(void **state)
{
	struct world *world = *state;
	struct document_port *port;
	_cleanup_(document_freep) struct document *document = grant_make("g", NOW + 600);

	document->issued_at = document->not_before = NOW - 7200;
	document->expires = NOW - 10;
	port = &document->ports[0];
	port->ports = (struct port_range){ 23, 23 };
	assert_int_equal(prefix_parse("198.51.100.1", &port->prefixes[0]), 0);
	world->admission.latest = NOW + 1;
	world->admission.max_grants = 0;
	mark_revoked(world, "g");
	registry_find(world->registry, "g")->has_document = true;

	assert_int_equal(judge(world, document), REFUSAL_DUPLICATE_ID);
	registry_find(world->registry, "g")->has_document = false;
	assert_int_equal(judge(world, document), REFUSAL_CLOCK_BEHIND);
	world->admission.latest = NOW;
	assert_int_equal(judge(world, document), REFUSAL_EXPIRED);
	document->expires = NOW + 600;
	assert_int_equal(judge(world, document), REFUSAL_REVOKED);
	registry_drop(world->registry, registry_find(world->registry, "g"));
	assert_int_equal(judge(world, document), REFUSAL_PORT_NOT_MANAGED);
	port->ports = (struct port_range){ 22, 22 };
	assert_int_equal(judge(world, document), REFUSAL_SOURCE_NOT_ALLOWED);
	assert_int_equal(prefix_parse("192.0.2.128/25", &port->prefixes[0]), 0);
	assert_int_equal(judge(world, document), REFUSAL_DURATION_TOO_LONG);
	document->issued_at = document->not_before = NOW;
	assert_int_equal(judge(world, document), REFUSAL_CAPACITY);
	world->admission.max_grants = 1;
	assert_int_equal(judge(world, document), REFUSAL_NONE);
}

static struct document *revocation_make(const char *id, const char *revokes)
{
	return document_make(DOCUMENT_REVOCATION,
		"{'iss': 'cp', 'aud': 'vm', 'jti': '%s', 'iat': %lld, 'revokes': ['%s', 'x']}", id,
		(long long)NOW, revokes);
}

/* Closing is never refused for the clock's sake. */
static void test_revocations(void **state)
{
	struct world *world = *state;
	_cleanup_(document_freep) struct document *document = revocation_make("r", "g");

	world->admission.latest = NOW + 1000;
	world->admission.ledger_unread = true;
	world->admission.max_grants = 0;
	document->issued_at = NOW + 5000;
	assert_int_equal(judge(world, document), REFUSAL_NONE);
	(void)admit(world, document, 0);
	assert_int_equal(judge(world, document), CODE_KNOWN);
	assert_int_equal(judge_digest(world, document, other_digest), REFUSAL_DUPLICATE_ID);
}

static void test_revoked_ids_are_bounded(void **state)
{
	struct world *world = *state;
	_cleanup_(document_freep) struct document *document = revocation_make("r", "g");
	char id[16];

	for (unsigned i = 0; i < REGISTRY_REVOKED_MAX - 2; i++) {
		snprintf(id, sizeof(id), "n-%u", i);
		mark_revoked(world, id);
	}
	assert_int_equal(judge(world, document), REFUSAL_NONE);
	mark_revoked(world, "one-more");
	assert_int_equal(judge(world, document), REFUSAL_CAPACITY);
}

static struct document *policy_make(const char *id, int version, const char *numbers)
{
	_cleanup_(freep) char *copy = strdup(numbers), *ports = strdup("");
	char *rest = copy, *number;

	while ((number = strsep(&rest, " ")) && *number) {
		_cleanup_(freep) char *before = ports;

		assert_true(asprintf(&ports,
				    "%s%s{'number': %s, 'protocol': 'TCP', "
				    "'allowedSourceAddressPrefix': '*', "
				    "'maxRequestAccessDuration': 'PT1H'}",
				    before, *before ? ", " : "", number) > 0);
	}
	return document_make(DOCUMENT_POLICY,
		"{'iss': 'cp', 'aud': 'vm', 'jti': '%s', 'iat': %lld, 'version': %d, 'ports': "
		"[%s]}",
		id, (long long)NOW + 5000, version, ports);
}

static void test_policies_grow(void **state)
{
	struct world *world = *state;
	_cleanup_(document_freep) struct document *document = policy_make("p", 7, "22");
	_cleanup_(document_freep) struct document *old = policy_make("old", 6, "");

	assert_int_equal(judge(world, document), REFUSAL_NONE);
	world->admission.policy = old;
	assert_int_equal(judge(world, document), REFUSAL_NONE);
	old->version = 7;
	assert_int_equal(judge(world, document), REFUSAL_STALE_POLICY);
	old->version = 8;
	assert_int_equal(judge(world, document), REFUSAL_STALE_POLICY);
	(void)admit(world, document, 0);
	assert_int_equal(judge(world, document), CODE_KNOWN);
}

/* It may neither shut what is not its own, nor open it by leaving it out. */
static void test_a_narrowed_key_keeps_to_its_ports(void **state)
{
	static char kid[] = "narrowed";
	static const struct {
		const char *old, *new;
		int answer;
	} cases[] = {
		{ "", "22", REFUSAL_NONE },
		{ "22", "22", REFUSAL_NONE },
		{ "22", "", REFUSAL_NONE },
		{ "", "80", REFUSAL_PORT_NOT_MANAGED },
		{ "", "22 80", REFUSAL_PORT_NOT_MANAGED },
		{ "22 80", "22", REFUSAL_PORT_NOT_MANAGED },
		{ "80", "", REFUSAL_PORT_NOT_MANAGED },
	};
	struct trust_key key = {
		.kid = kid,
		.narrowed_ports = true,
		.ports = { { { 22, 22 }, PROTOCOL_TCP } },
		.n_ports = 1,
	};
	struct world *world = *state;

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		_cleanup_(document_freep) struct document *old =
			policy_make("old", 1, cases[i].old);
		_cleanup_(document_freep) struct document *new =
			policy_make("new", 2, cases[i].new);

		world->admission.policy = old;
		new->key = &key;
		assert_int_equal(judge(world, new), cases[i].answer);
		new->key = NULL;
		assert_int_equal(judge(world, new), REFUSAL_NONE);
	}
	world->admission.policy = NULL;
}

/* An id names one document, of whatever kind. */
static void test_an_id_is_of_one_kind(void **state)
{
	struct world *world = *state;
	_cleanup_(document_freep) struct document *revocation = revocation_make("g", "h");

	(void)admit(world, grant_make("g", NOW + 600), GRANT_ACTIVE);
	assert_int_equal(judge_digest(world, revocation, other_digest), REFUSAL_DUPLICATE_ID);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_the_same_document_is_known),
		TEST(test_an_ended_grant_does_not_come_again),
		TEST(test_a_revoked_grant_that_was_read_back),
		TEST(test_clocks),
		TEST(test_capacity),
		TEST(test_codes_come_in_their_order),
		TEST(test_revocations),
		TEST(test_revoked_ids_are_bounded),
		TEST(test_policies_grow),
		TEST(test_a_narrowed_key_keeps_to_its_ports),
		TEST(test_an_id_is_of_one_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
