/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Policies against a model that looks at every address, port and rule. The model's world is small:
 * eight addresses of each family, one outside at either end, and ports 1 to PORTS and the last.
 */

#include "agent/daemon/policy.h"
#include "tests/unit/documents.h"

#define PORTS 12
#define RULES_MAX 6
#define PREFIXES_MAX 3
#define N_ADDRESSES 10
#define RUNS 4000

static const uint8_t families[] = { AF_INET, AF_INET6 };
static const unsigned protocols[] = { PROTOCOL_TCP, PROTOCOL_UDP };

/* 192.0.2.0 to .7 and 2001:db8::0 to ::7; then the first and the last of the family. */
static struct address world_address(uint8_t family, unsigned i)
{
	struct address address = {};
	size_t n = address_bytes(family);

	if (i == 9)
		memset(address.bytes, 0xff, n);
	if (i >= 8)
		return address;
	if (family == AF_INET)
		memcpy(address.bytes, (const uint8_t[]){ 192, 0, 2 }, 3);
	else
		memcpy(address.bytes, (const uint8_t[]){ 0x20, 0x01, 0x0d, 0xb8 }, 4);
	address.bytes[n - 1] = (uint8_t)i;
	return address;
}

/* Bit by bit, apart from the code that is tested. */
static bool model_has(const struct prefix *prefix, uint8_t family, const struct address *address)
{
	if (prefix->family == AF_UNSPEC)
		return true;
	if (prefix->family != family)
		return false;
	for (unsigned bit = 0; bit < prefix->length; bit++)
		if ((prefix->address.bytes[bit / 8] ^ address->bytes[bit / 8]) >> (7 - bit % 8) & 1)
			return false;
	return true;
}

static bool model_within(const struct prefix *inner, const struct prefix *outer, uint8_t family)
{
	for (unsigned i = 0; i < N_ADDRESSES; i++) {
		struct address address = world_address(family, i);

		if (model_has(inner, family, &address) && !model_has(outer, family, &address))
			return false;
	}
	return true;
}

/* A prefix must lie in one that is allowed; "*" is one prefix of each family. */
static bool model_source_is_allowed(const struct prefix *wanted, const struct document_port *rule)
{
	for (size_t f = 0; f < N_ELEMENTS(families); f++) {
		bool found = wanted->family != AF_UNSPEC && wanted->family != families[f];

		for (size_t k = 0; k < rule->n_prefixes && !found; k++)
			found = model_within(wanted, &rule->prefixes[k], families[f]);
		if (!found)
			return false;
	}
	return true;
}

static struct prefix random_prefix(void)
{
	static const char *const whole[] = { "*", "0.0.0.0/0", "::/0" };
	uint8_t family = families[chance(2)];
	struct prefix prefix = {};
	unsigned n_host = chance(4);
	struct address address = world_address(family, chance(8) >> n_host << n_host);

	if (chance(5) == 0) {
		assert_int_equal(prefix_parse(whole[chance(3)], &prefix), 0);
		return prefix;
	}
	prefix.family = family;
	prefix.length = (uint8_t)(8 * address_bytes(family) - n_host);
	prefix.address = address;
	return prefix;
}

static size_t random_prefixes(struct prefix *prefixes)
{
	size_t n = 1 + chance(PREFIXES_MAX);

	for (size_t i = 0; i < n; i++)
		prefixes[i] = random_prefix();
	return n;
}

/* What struct config and a signed policy point into. */
struct scene {
	struct prefix prefixes[2 * RULES_MAX][PREFIXES_MAX];
	struct prefix always_allow[RULES_MAX][PREFIXES_MAX];
	struct config_port sections[RULES_MAX];
	struct document_port signed_ports[RULES_MAX];
	struct config config;
	struct document policy;
	struct policies policies;
	/* What is asked for. */
	struct prefix wanted_prefixes[2][PREFIXES_MAX];
	struct document_port wanted[2];
	struct document grant;
	struct trust_key key;
	struct prefix unused_prefixes[PREFIXES_MAX];
};

static struct document_port random_rule(struct prefix *prefixes)
{
	struct document_port rule = { .prefixes = prefixes, .max_duration = 600 * (1 + chance(4)) };

	rule.ports.first = (uint16_t)(1 + chance(PORTS));
	rule.ports.last = rule.ports.first;
	if (chance(2))
		rule.ports.last = (uint16_t)(rule.ports.first + chance(PORTS));
	if (chance(12) == 0)
		rule.ports.last = UINT16_MAX;
	rule.protocols = 1 + chance(3);
	rule.n_prefixes = random_prefixes(prefixes);
	return rule;
}

static void random_policies(struct scene *scene)
{
	static char name[] = "section";

	scene->config.ports = scene->sections;
	scene->config.n_ports = chance(RULES_MAX + 1);
	for (size_t i = 0; i < scene->config.n_ports; i++) {
		struct config_port *section = &scene->sections[i];

		section->name = name;
		section->rule = random_rule(scene->prefixes[i]);
		section->always_allow = scene->always_allow[i];
		section->n_always_allow = chance(2) ? random_prefixes(scene->always_allow[i]) : 0;
		section->on_expiry = chance(2) ? SESSIONS_KEEP : SESSIONS_KILL;
	}
	scene->policy.ports = scene->signed_ports;
	scene->policy.n_ports = chance(3);
	for (size_t i = 0; i < scene->policy.n_ports; i++)
		scene->signed_ports[i] = random_rule(scene->prefixes[RULES_MAX + i]);
	assert_int_equal(policies_init(&scene->policies, &scene->config, &scene->policy, NULL), 0);
}

static void random_grant(struct scene *scene)
{
	static char kid[] = "k1";
	struct document *grant = &scene->grant;

	*grant = (struct document){ .kind = DOCUMENT_GRANT, .issued_at = NOW - chance(120) };
	grant->not_before = chance(2) ? grant->issued_at : NOW + chance(1200);
	grant->expires = grant->not_before + 1 + chance(3000);
	grant->ports = scene->wanted;
	grant->n_ports = 1 + chance(2);
	for (size_t i = 0; i < grant->n_ports; i++) {
		scene->wanted[i] = random_rule(scene->wanted_prefixes[i]);
		scene->wanted[i].ports.last = scene->wanted[i].ports.first;
	}
	scene->key = (struct trust_key){ .kid = kid, .narrowed_ports = chance(2) };
	scene->key.n_ports = scene->key.narrowed_ports ? chance(3) : 0;
	for (size_t i = 0; i < scene->key.n_ports; i++) {
		const struct document_port rule = random_rule(scene->unused_prefixes);

		scene->key.ports[i] = (struct trust_key_ports){ rule.ports, rule.protocols };
	}
	scene->key.max_duration = chance(2) ? 0 : 600 * (1 + chance(4));
}

static bool names(const struct document_port *rule, unsigned port, unsigned protocol)
{
	return rule->ports.first <= port && port <= rule->ports.last &&
		(rule->protocols & protocol);
}

static bool model_duration_fits(const struct document *grant, int64_t max, int64_t now)
{
	int64_t start = grant->not_before;

	if (grant->issued_at > start)
		start = grant->issued_at;
	return grant->expires - start <= max &&
		(now == 0 || grant->expires - now <= max + CLOCK_LEEWAY_SECONDS);
}

/* Each code that applies, as a bit. */
static unsigned model_codes(const struct scene *scene, const struct trust_key *key, int64_t now)
{
	const struct document *grant = &scene->grant;
	unsigned codes = 0;

	for (size_t i = 0; i < grant->n_ports; i++) {
		const struct document_port *wanted = &grant->ports[i];

		for (size_t p = 0; p < N_ELEMENTS(protocols); p++) {
			bool managed = false, key_may = !key || !key->narrowed_ports;

			if (!(wanted->protocols & protocols[p]))
				continue;
			for (size_t k = 0; k < scene->policies.n_rules; k++) {
				const struct document_port *rule = scene->policies.rules[k].rule;

				if (!names(rule, wanted->ports.first, protocols[p]))
					continue;
				managed = true;
				for (size_t s = 0; s < wanted->n_prefixes; s++)
					if (!model_source_is_allowed(&wanted->prefixes[s], rule))
						codes |= 1u << REFUSAL_SOURCE_NOT_ALLOWED;
				if (!model_duration_fits(grant, rule->max_duration, now))
					codes |= 1u << REFUSAL_DURATION_TOO_LONG;
			}
			for (size_t k = 0; key && k < key->n_ports; k++)
				key_may |= key->ports[k].ports.first <= wanted->ports.first &&
					wanted->ports.first <= key->ports[k].ports.last &&
					(key->ports[k].protocols & protocols[p]);
			if (!managed || !key_may)
				codes |= 1u << REFUSAL_PORT_NOT_MANAGED;
		}
	}
	if (key && key->max_duration && !model_duration_fits(grant, key->max_duration, now))
		codes |= 1u << REFUSAL_DURATION_TOO_LONG;
	return codes;
}

static void check_one(struct scene *scene, unsigned run, unsigned counts[static 2])
{
	const struct trust_key *key = chance(2) ? &scene->key : NULL;
	int64_t now = chance(4) ? NOW : 0;
	struct refusal refusal = {};
	unsigned codes = model_codes(scene, key, now);
	int status = policies_check(&scene->policies, key, &scene->grant, now, &refusal);

	counts[status == 0]++;
	if ((status == 0) != (codes == 0) || (codes && !(codes & 1u << refusal.code)))
		fail_msg("run %u: %d (%s: %s), the model says %#x", run, status,
			status ? refusal_code_name(refusal.code) : "", refusal.message, codes);
}

/* A grant passes just where every rule that names its port, and its key, allow it. */
static void test_grants_pass_as_the_rules_say(void **state)
{
	unsigned counts[2] = {};

	(void)state;
	for (unsigned run = 0; run < RUNS; run++) {
		struct scene scene = {};

		chance_seed(run);
		random_policies(&scene);
		for (unsigned i = 0; i < 20; i++) {
			random_grant(&scene);
			check_one(&scene, run, counts);
		}
		policies_done(&scene.policies);
	}
	/* Chance must try both. */
	assert_true(counts[0] > RUNS && counts[1] > RUNS / 4);
}

/* A further rule refuses more, never less: a control plane that is taken over opens nothing the
 * owner keeps shut. */
static void test_another_rule_only_tightens(void **state)
{
	unsigned n_refused = 0;

	(void)state;
	for (unsigned run = 0; run < RUNS; run++) {
		struct scene scene = {};
		struct policies owner;

		chance_seed(RUNS + run);
		random_policies(&scene);
		assert_int_equal(policies_init(&owner, &scene.config, NULL, NULL), 0);
		for (unsigned i = 0; i < 20; i++) {
			struct refusal refusal = {};

			random_grant(&scene);
			if (policies_check(&owner, NULL, &scene.grant, NOW, &refusal) == 0 ||
				refusal.code == REFUSAL_PORT_NOT_MANAGED)
				continue;
			n_refused++;
			assert_int_equal(
				policies_check(&scene.policies, NULL, &scene.grant, NOW, &refusal),
				REFUSED);
		}
		policies_done(&owner);
		policies_done(&scene.policies);
	}
	assert_true(n_refused > RUNS);
}

static unsigned count_elements(const struct element_list *list, uint8_t family,
	const struct address *address, unsigned port, unsigned protocol)
{
	unsigned n = 0;

	for (size_t i = 0; i < list->n; i++) {
		const struct element *element = &list->elements[i];

		assert_int_equal(element->timeout_ms, 0);
		n += element->sources.family == family &&
			element->l4proto ==
				(protocol == PROTOCOL_TCP ? IPPROTO_TCP : IPPROTO_UDP) &&
			element->ports.first <= port && port <= element->ports.last &&
			address_range_contains(&element->sources, address);
	}
	return n;
}

static void check_always_allow(const struct scene *scene, const struct element_list *list,
	unsigned port, unsigned protocol, unsigned run)
{
	for (size_t f = 0; f < N_ELEMENTS(families); f++)
		for (unsigned i = 0; i < N_ADDRESSES; i++) {
			struct address address = world_address(families[f], i);
			bool wanted = false;

			for (size_t s = 0; s < scene->config.n_ports; s++) {
				const struct config_port *section = &scene->sections[s];

				for (size_t k = 0; k < section->n_always_allow; k++)
					wanted |= names(&section->rule, port, protocol) &&
						model_has(&section->always_allow[k], families[f],
							&address);
			}
			if (count_elements(list, families[f], &address, port, protocol) != wanted)
				fail_msg("run %u: port %u protocol %u family %u address %u", run,
					port, protocol, families[f], i);
			assert_int_equal(wanted,
				policies_find_always_allow(&scene->policies, families[f], &address,
					(uint16_t)port, protocol) != NULL);
		}
}

static void check_managed(const struct scene *scene, const struct port_range_list *list,
	unsigned port, unsigned protocol)
{
	bool wanted = false, kills = false;
	unsigned n = 0;

	for (size_t k = 0; k < scene->policies.n_rules; k++)
		wanted |= names(scene->policies.rules[k].rule, port, protocol);
	for (size_t s = 0; s < scene->config.n_ports; s++)
		kills |= names(&scene->sections[s].rule, port, protocol) &&
			scene->sections[s].on_expiry == SESSIONS_KILL;
	for (size_t i = 0; i < list->n; i++)
		n += list->ranges[i].first <= port && port <= list->ranges[i].last;
	assert_int_equal(n, wanted);
	assert_int_equal(policies_manage(&scene->policies, (uint16_t)port, protocol), wanted);
	assert_int_equal(
		policies_kill_on_expiry(&scene->policies, (uint16_t)port, protocol), kills);
}

/* The kernel's sets take no overlapping elements: one too many, and the gate can't be installed. */
static void test_elements_and_ports_are_disjoint(void **state)
{
	(void)state;
	for (unsigned run = 0; run < RUNS / 4; run++) {
		struct scene scene = {};
		struct element_list elements;

		chance_seed(3 * RUNS + run);
		random_policies(&scene);
		assert_int_equal(policies_always_allow(&scene.policies, &elements), 0);
		for (size_t p = 0; p < N_ELEMENTS(protocols); p++) {
			struct port_range_list ports;

			assert_int_equal(policies_ports(&scene.policies, protocols[p], &ports), 0);
			for (unsigned port = 1; port <= 2 * PORTS + 2; port++) {
				unsigned number = port == 2 * PORTS + 2 ? UINT16_MAX : port;

				check_managed(&scene, &ports, number, protocols[p]);
				check_always_allow(&scene, &elements, number, protocols[p], run);
			}
			for (size_t i = 0; i + 1 < ports.n; i++)
				assert_true(ports.ranges[i].last < ports.ranges[i + 1].first);
			port_range_list_done(&ports);
		}
		element_list_done(&elements);
		policies_done(&scene.policies);
	}
}

/* Of all ports it names just those that no policy does, and only local root grants them. */
static void test_a_policy_stands_in(void **state)
{
	struct port_range all[] = { { 1, PORTS }, { PORTS + 1, UINT16_MAX } };
	const struct port_range_list tcp = { .ranges = all, .n = 2 },
				     udp = { .ranges = all, .n = 1 };

	(void)state;
	for (unsigned run = 0; run < RUNS / 200; run++) {
		struct scene scene = {};
		struct document *stand_in;
		struct policies policies;

		chance_seed(5 * RUNS + run);
		random_policies(&scene);
		assert_int_equal(policies_stand_in(&scene.policies, &tcp, &udp, &stand_in), 0);
		assert_int_equal(
			policies_init(&policies, &scene.config, &scene.policy, stand_in), 0);
		for (unsigned port = 1; port <= UINT16_MAX; port++) {
			struct document_port wanted = { .ports = { (uint16_t)port, (uint16_t)port },
				.protocols = PROTOCOL_TCP,
				.max_duration = 1 };
			const struct document grant = {
				.ports = &wanted, .n_ports = 1, .expires = 1
			};
			bool named = policies_manage(&scene.policies, (uint16_t)port, PROTOCOL_TCP);
			struct refusal refusal;
			unsigned n = 0;

			for (size_t i = 0; i < stand_in->n_ports; i++)
				n += names(&stand_in->ports[i], port, PROTOCOL_TCP);
			assert_int_equal(n, !named);
			assert_int_equal(policies_check_ports(&policies, &grant, &refusal), 0);
			if (!named)
				assert_int_equal(
					policies_check(&policies, NULL, &grant, 0, &refusal),
					REFUSED);
			assert_int_equal(policies_manage(&policies, (uint16_t)port, PROTOCOL_UDP),
				port <= PORTS ||
					policies_manage(
						&scene.policies, (uint16_t)port, PROTOCOL_UDP));
		}
		document_free(stand_in);
		policies_done(&policies);
		policies_done(&scene.policies);
	}
}

static enum refusal_code code_of(const struct document_port *rule, const struct trust_key *key,
	int64_t issued, int64_t begins, int64_t expires, int64_t now)
{
	static char name[] = "ssh";
	struct config_port section = { .name = name, .rule = *rule };
	struct config config = { .ports = &section, .n_ports = 1 };
	struct prefix prefix = { .family = AF_INET, .length = 32 };
	struct document_port wanted = {
		.ports = { 22, 22 }, .protocols = PROTOCOL_TCP, .prefixes = &prefix, .n_prefixes = 1
	};
	struct document grant = { .kind = DOCUMENT_GRANT,
		.issued_at = issued,
		.not_before = begins,
		.expires = expires,
		.ports = &wanted,
		.n_ports = 1 };
	struct refusal refusal = {};
	struct policies policies;

	assert_int_equal(policies_init(&policies, &config, NULL, NULL), 0);
	if (policies_check(&policies, key, &grant, now, &refusal) == 0)
		refusal.code = REFUSAL_NONE;
	policies_done(&policies);
	return refusal.code;
}

static struct prefix everywhere = { .family = AF_UNSPEC };
static const struct document_port hour = { .ports = { 22, 22 },
	.protocols = PROTOCOL_TCP,
	.prefixes = &everywhere,
	.n_prefixes = 1,
	.max_duration = 3600 };

static enum refusal_code duration_code(int64_t issued, int64_t begins, int64_t expires, int64_t now)
{
	return code_of(&hour, NULL, issued, begins, expires, now);
}

static void test_durations_to_the_second(void **state)
{
	(void)state;
	/* What the document says: from the later of nbf and iat. */
	assert_int_equal(duration_code(NOW, NOW, NOW + 3600, NOW), REFUSAL_NONE);
	assert_int_equal(duration_code(NOW, NOW, NOW + 3601, NOW), REFUSAL_DURATION_TOO_LONG);
	assert_int_equal(duration_code(NOW, NOW - 600, NOW + 3600, NOW), REFUSAL_NONE);
	assert_int_equal(duration_code(NOW - 10, NOW, NOW + 3600, NOW), REFUSAL_NONE);
	/* The signer's clock ahead of ours by up to a minute. */
	assert_int_equal(duration_code(NOW + 60, NOW + 60, NOW + 3660, NOW), REFUSAL_NONE);
	assert_int_equal(
		duration_code(NOW + 61, NOW + 61, NOW + 3661, NOW), REFUSAL_DURATION_TOO_LONG);
	/* A beginning in the future postpones no end. */
	assert_int_equal(duration_code(NOW, NOW + 600, NOW + 3600, NOW), REFUSAL_NONE);
	assert_int_equal(duration_code(NOW, NOW + 600, NOW + 4200, NOW), REFUSAL_DURATION_TOO_LONG);
	/* Judged again later: only what no clock changes. */
	assert_int_equal(duration_code(NOW, NOW + 600, NOW + 4200, 0), REFUSAL_NONE);
	assert_int_equal(duration_code(NOW, NOW, NOW + 3601, 0), REFUSAL_DURATION_TOO_LONG);
}

static void test_a_key_is_narrowed(void **state)
{
	static char kid[] = "k1";
	struct trust_key key = { .kid = kid, .max_duration = 600 };
	struct document_port both = hour;

	(void)state;
	both.protocols = PROTOCOL_ANY;
	assert_int_equal(code_of(&hour, &key, NOW, NOW, NOW + 600, NOW), REFUSAL_NONE);
	assert_int_equal(code_of(&hour, &key, NOW, NOW, NOW + 601, NOW), REFUSAL_DURATION_TOO_LONG);
	/* An empty list of ports is none, not all. */
	key.narrowed_ports = true;
	assert_int_equal(code_of(&hour, &key, NOW, NOW, NOW + 600, NOW), REFUSAL_PORT_NOT_MANAGED);
	key.ports[0] = (struct trust_key_ports){ { 1, 21 }, PROTOCOL_ANY };
	key.ports[1] = (struct trust_key_ports){ { 22, 30 }, PROTOCOL_UDP };
	key.n_ports = 2;
	assert_int_equal(code_of(&both, &key, NOW, NOW, NOW + 600, NOW), REFUSAL_PORT_NOT_MANAGED);
	key.ports[0].ports.last = 22;
	assert_int_equal(code_of(&both, &key, NOW, NOW, NOW + 600, NOW), REFUSAL_NONE);
}

/* Two halves allowed are not the whole: a prefix must lie inside one. The star needs both families.
 */
static void test_sources_across_families(void **state)
{
	static const struct {
		const char *allowed[2], *wanted;
		bool passes;
	} cases[] = {
		{ { "*" }, "*", true },
		{ { "*" }, "10.0.0.0/8", true },
		{ { "*" }, "2001:db8::1", true },
		{ { "0.0.0.0/0" }, "*", false },
		{ { "::/0" }, "*", false },
		{ { "0.0.0.0/0", "::/0" }, "*", true },
		{ { "::/0" }, "10.0.0.1", false },
		{ { "0.0.0.0/0" }, "2001:db8::1", false },
		{ { "0.0.0.0/0" }, "0.0.0.0/0", true },
		{ { "0.0.0.0/1", "128.0.0.0/1" }, "0.0.0.0/0", false },
		{ { "10.0.0.0/8" }, "10.0.0.0/7", false },
		{ { "10.0.0.0/8" }, "10.255.0.0/16", true },
		{ { "10.0.0.0/8" }, "11.0.0.0/16", false },
		{ { "2001:db8::/32" }, "2001:db8:ffff::/48", true },
		{ { "2001:db8::/32" }, "2001:db9::/48", false },
		{ { "192.0.2.7" }, "192.0.2.6/31", false },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		static char name[] = "ssh";
		struct prefix allowed[2], wanted;
		struct config_port section = { .name = name, .rule = hour };
		struct config config = { .ports = &section, .n_ports = 1 };
		struct document_port port = hour;
		struct document grant = { .issued_at = NOW,
			.not_before = NOW,
			.expires = NOW + 60,
			.ports = &port,
			.n_ports = 1 };
		struct refusal refusal = {};
		struct policies policies;

		section.rule.prefixes = allowed;
		section.rule.n_prefixes = cases[i].allowed[1] ? 2 : 1;
		for (size_t k = 0; k < section.rule.n_prefixes; k++)
			assert_int_equal(prefix_parse(cases[i].allowed[k], &allowed[k]), 0);
		assert_int_equal(prefix_parse(cases[i].wanted, &wanted), 0);
		port.prefixes = &wanted;
		assert_int_equal(policies_init(&policies, &config, NULL, NULL), 0);
		if ((policies_check(&policies, NULL, &grant, NOW, &refusal) == 0) !=
			cases[i].passes)
			fail_msg("%s in %s: %s", cases[i].wanted, cases[i].allowed[0],
				refusal.message);
		if (!cases[i].passes)
			assert_int_equal(refusal.code, REFUSAL_SOURCE_NOT_ALLOWED);
		policies_done(&policies);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grants_pass_as_the_rules_say),
		cmocka_unit_test(test_another_rule_only_tightens),
		cmocka_unit_test(test_elements_and_ports_are_disjoint),
		cmocka_unit_test(test_a_policy_stands_in),
		cmocka_unit_test(test_durations_to_the_second),
		cmocka_unit_test(test_a_key_is_narrowed),
		cmocka_unit_test(test_sources_across_families),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
