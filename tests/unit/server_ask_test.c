/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Requests against policies: what is granted, until when, and what is refused with which code. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/common/times.h"
#include "tests/unit/server_fixture.h"

#define ID "r-0198c2f4a1b27c3e8f0123456789abcd"

static struct policy *policies[4];
static size_t n_policies;

static struct policy_list find_policies(const char *vm_key, void *userdata)
{
	(void)vm_key, (void)userdata;
	return (struct policy_list){ (const struct policy *const *)policies, n_policies };
}

static int teardown(void **state)
{
	(void)state;
	while (n_policies > 0)
		policy_free(policies[--n_policies]);
	return 0;
}

static const struct policy *have(const char *name, const char *ports)
{
	_cleanup_(freep) char *body = NULL;

	assert_true(asprintf(&body,
			    "{'properties': {'virtualMachines': [{'id': '%s', 'ports': [%s]}]}}",
			    VM_1, ports) > 0);
	policies[n_policies] = policy_make(name, body);
	return policies[n_policies++];
}

static struct evaluation evaluation_make(void)
{
	return (struct evaluation){
		.id = ID,
		.requestor = "alice",
		.now_usec = NOW * (int64_t)USEC_PER_SEC + 250000,
		.family = AF_INET,
		.address = { { 192, 0, 2, 7 } },
		.find_policies = find_policies,
	};
}

static int try(const char *body, bool azure, struct request **ret, struct problem *problem)
{
	const struct evaluation evaluation = evaluation_make();
	_cleanup_(ask_freep) struct ask *ask = NULL;
	json_auto_t *json = json_make(body);
	int r = azure ? ask_from_initiate(json, &ask, problem) : ask_from_body(json, &ask, problem);

	return r != 0 ? r : ask_evaluate(ask, policies[0], &evaluation, ret, problem);
}

static struct request *granted(const char *body)
{
	struct problem problem = { 0 };
	struct request *request;

	if (try(body, strstr(body, "virtualMachines'") != NULL, &request, &problem) != 0)
		fail_msg("%s: %s", body, problem.message);
	return request;
}

static void refused(const char *body, const char *code, const char *message)
{
	struct problem problem = { 0 };
	struct request *request;
	bool azure = strstr(body, "virtualMachines'") != NULL;

	assert_int_equal(try(body, azure, &request, &problem), PROBLEM);
	assert_int_equal(problem.status, 400);
	assert_string_equal(problem.code, code);
	if (!strstr(problem.message, message))
		fail_msg("%s: \"%s\" instead of \"%s\"", body, problem.message, message);
}

#define SSH \
	"{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '192.0.2.0/24', " \
	"'maxRequestAccessDuration': 'PT3H'}"
#define ANY \
	"{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '*', " \
	"'maxRequestAccessDuration': 'PT30M'}"
#define INITIATE(port) "{'virtualMachines': [{'id': '" VM_1 "', 'ports': [" port "]}]}"

static void test_what_is_within_is_granted(void **state)
{
	const struct access *access;
	struct request *request;

	(void)state;
	have("default", SSH);
	request = granted("{'justification': 'ticket', 'virtualMachines': [{'id': "
			  "'/Subscriptions/S/resourcegroups/rg/providers/microsoft.compute/"
			  "virtualMachines/VM1', 'ports': [{'number': 22, 'endTimeUtc': "
			  "'2026-01-01T11:00:00.9999999Z', 'allowedSourceAddressPrefix': "
			  "'192.0.2.128/25'}]}]}");
	access = &request->vms[0].ports[0];
	assert_string_equal(request->vms[0].id, VM_1); /* as the policy spells it */
	assert_string_equal(request->justification, "ticket");
	assert_int_equal(access->end, NOW + 3600);
	assert_int_equal(access->protocols, PROTOCOL_TCP);
	assert_int_equal(access->status, ACCESS_GRANTED);
	assert_int_equal(request->approval_until, 0);
	request_free(request);
}

static void test_the_callers_address_is_the_source(void **state)
{
	struct request *request;
	char text[PREFIX_STRING_MAX];

	(void)state;
	have("default", SSH);
	request = granted("{'vm': '" VM_1 "', 'ports': [{'number': 22}], 'duration': 'PT10M'}");
	assert_string_equal(prefix_format(&request->vms[0].ports[0].source, text), "192.0.2.7");
	assert_int_equal(request->vms[0].ports[0].end, NOW + 600);
	request_free(request);
}

static void test_without_a_duration_it_is_an_hour_at_most(void **state)
{
	struct request *request;

	(void)state;
	have("default",
		ANY ", {'number': 23, 'protocol': 'TCP', 'allowedSourceAddressPrefix': "
		    "'*', 'maxRequestAccessDuration': 'PT3H'}");
	request = granted("{'vm': '" VM_1 "', 'ports': [{'number': 22}, {'number': 23}]}");
	assert_int_equal(request->vms[0].ports[0].end, NOW + 1800);
	assert_int_equal(request->vms[0].ports[1].end, NOW + 3600);
	request_free(request);
}

static void test_an_end_a_little_late_is_cut(void **state)
{
	struct request *request;

	(void)state;
	have("default", SSH);
	request = granted(INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T13:01:00Z'}"));
	assert_int_equal(request->vms[0].ports[0].end, NOW + 3 * 3600);
	request_free(request);
	refused(INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T13:01:01Z'}"), "DurationTooLong",
		"endTimeUtc 2026-01-01T13:01:01Z is later than 2026-01-01T13:00:00Z");
}

static void test_refusals_have_their_codes(void **state)
{
	(void)state;
	have("default", SSH);
	refused(INITIATE("{'number': 23, 'endTimeUtc': '2026-01-01T11:00:00Z'}"), "PortNotInPolicy",
		"port 23 is not in policy default for vm1");
	refused(INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T11:00:00Z', "
			 "'allowedSourceAddressPrefix': '192.0.0.0/16'}"),
		"SourceNotAllowed", "source 192.0.0.0/16 is not within 192.0.2.0/24");
	refused(INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T11:00:00Z', "
			 "'allowedSourceAddressPrefix': '*'}"),
		"SourceNotAllowed", "source *");
	refused(INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T10:00:00Z'}"),
		"EndTimeInThePast", "has passed");
	refused("{'virtualMachines': [{'id': '" VM_2 "', 'ports': [{'number': 22, 'endTimeUtc': "
		"'2026-01-01T11:00:00Z'}]}]}",
		"VirtualMachineNotInPolicy", "does not name");
	refused("{'vm': '" VM_1 "', 'ports': [{'number': 22}], 'duration': 'PT4H'}",
		"DurationTooLong", "PT4H is longer than the PT3H that is allowed");
}

static void test_bodies_that_make_no_sense(void **state)
{
	static const char *const bodies[] = {
		"{}",
		"{'virtualMachines': 5}",
		"{'virtualMachines': []}",
		INITIATE("5"),
		INITIATE("{'number': 22}"),
		INITIATE("{'number': 22, 'endTimeUtc': 5}"),
		INITIATE("{'number': 22, 'endTimeUtc': 'tomorrow'}"),
		INITIATE("{'number': -1, 'endTimeUtc': '2026-01-01T11:00:00Z'}"),
		INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T11:00:00Z', "
			 "'allowedSourceAddressPrefix': '::ffff:192.0.2.1'}"),
		INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T11:00:00Z'}, {'number': 22, "
			 "'endTimeUtc': '2026-01-01T12:00:00Z'}"),
		"{'vm': '" VM_1 "'}",
		"{'vm': '" VM_1 "', 'ports': [{'number': 22}], 'duration': 'PT1H', 'endTimeUtc': "
		"'2026-01-01T11:00:00Z'}",
		"{'vm': '" VM_1 "', 'ports': [{'number': 22}], 'duration': 60}",
		"{'vm': '" VM_1 "', 'ports': [{'number': 22, 'source': 'home'}]}",
		"{'vm': '" VM_1 "', 'ports': [{'number': 22}], 'justification': 7}",
	};

	(void)state;
	have("default", SSH);
	for (size_t i = 0; i < N_ELEMENTS(bodies); i++)
		refused(bodies[i], "InvalidRequestContent", "");
}

/* The agent wants each rule of each policy satisfied. */
static void test_another_policy_can_only_tighten(void **state)
{
	struct request *request;

	(void)state;
	have("default", ANY);
	have("narrow", SSH);
	request = granted(INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T10:30:00Z'}"));
	request_free(request);
	refused(INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T11:30:00Z'}"), "DurationTooLong",
		"");
	refused(INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T10:30:00Z', "
			 "'allowedSourceAddressPrefix': '198.51.100.1'}"),
		"SourceNotAllowed", "policy narrow");
}

static void test_protocols_are_those_of_the_rules(void **state)
{
	struct request *request;

	(void)state;
	have("default",
		SSH ", {'number': 22, 'protocol': 'UDP', 'allowedSourceAddressPrefix': "
		    "'*', 'maxRequestAccessDuration': 'PT10M'}");
	request = granted("{'vm': '" VM_1 "', 'ports': [{'number': 22}]}");
	assert_int_equal(request->vms[0].ports[0].protocols, PROTOCOL_ANY);
	assert_int_equal(request->vms[0].ports[0].end, NOW + 600);
	request_free(request);
}

#define APPROVED \
	"{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '*', " \
	"'maxRequestAccessDuration': 'PT1H', 'approvalRequired': true}"

/* Whichever of them it is, and whatever the others say. */
static void test_one_policy_that_wants_approval_is_enough(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct request *request;

		have("default", i == 0 ? APPROVED : SSH);
		have("second", i == 0 ? SSH : APPROVED);
		request = granted("{'vm': '" VM_1 "', 'ports': [{'number': 22}]}");
		assert_int_equal(request->vms[0].ports[0].status, ACCESS_PENDING);
		assert_false(request->vms[0].ports[0].opens);
		request_free(request);
		(void)teardown(NULL);
	}
}

static void test_time_begins_with_the_approval(void **state)
{
	struct evaluation evaluation = evaluation_make();
	struct problem problem = { 0 };
	struct request *request;
	struct access *access;

	(void)state;
	have("default", APPROVED);
	request = granted("{'vm': '" VM_1 "', 'ports': [{'number': 22}], 'duration': 'PT20M'}");
	access = &request->vms[0].ports[0];
	assert_int_equal(access->status, ACCESS_PENDING);
	/* It may wait longer than it is to last. */
	assert_int_equal(access_status_at(request, access, NOW + 7200), ACCESS_PENDING);
	assert_int_equal(access_status_at(request, access, NOW + 86400), ACCESS_EXPIRED);
	evaluation.now_usec += 7200 * (int64_t)USEC_PER_SEC;
	assert_int_equal(request_approve(request, policies[0], &evaluation, &problem), 0);
	assert_int_equal(access->status, ACCESS_GRANTED);
	assert_int_equal(access->end, NOW + 7200 + 1200);
	assert_int_equal(access_status_at(request, access, NOW + 8399), ACCESS_GRANTED);
	assert_int_equal(access_status_at(request, access, NOW + 8400), ACCESS_EXPIRED);
	request_free(request);
}

static void test_an_absolute_end_stays_while_it_waits(void **state)
{
	struct request *request;
	const struct access *access;

	(void)state;
	have("default", APPROVED);
	request = granted(INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T10:30:00Z'}"));
	access = &request->vms[0].ports[0];
	assert_int_equal(request->approval_until, NOW + 1800);
	assert_int_equal(access_status_at(request, access, NOW + 1799), ACCESS_PENDING);
	assert_int_equal(access_status_at(request, access, NOW + 1800), ACCESS_EXPIRED);
	request_free(request);
}

static void test_what_is_stored_is_read_again(void **state)
{
	struct request *request, *again;
	json_auto_t *json = NULL, *second = NULL;

	(void)state;
	have("default", APPROVED);
	request = granted("{'justification': 'j', 'vm': '" VM_1
			  "', 'ports': [{'number': 22, 'source': '2001:db8::/64'}]}");
	assert_int_equal(decision_set(&request->approval, "bob", NOW * 1000000, NULL), 0);
	json = request_to_json(request, REQUEST_STORED, 0, NULL, NULL);
	assert_int_equal(request_from_json(ID, json, &again), 0);
	second = request_to_json(again, REQUEST_STORED, 0, NULL, NULL);
	assert_json_equal(second, json);
	request_free(again);
	request_free(request);
}

static void test_azures_shape(void **state)
{
	struct request *request;
	json_auto_t *json = NULL, *expected = NULL;

	(void)state;
	have("default", SSH);
	request = granted(INITIATE("{'number': 22, 'endTimeUtc': '2026-01-01T11:00:00.000Z'}"));
	json = request_to_json(request, REQUEST_AZURE, NOW + 3600, NULL, NULL);
	expected = json_make("{'id': '" ID "', 'requestor': 'alice', 'startTimeUtc': "
			     "'2026-01-01T10:00:00.250000Z', 'virtualMachines': [{'id': '" VM_1
			     "', 'ports': [{'number': 22, 'allowedSourceAddressPrefix': "
			     "'192.0.2.7', 'endTimeUtc': '2026-01-01T11:00:00Z', 'status': "
			     "'Revoked', 'statusReason': 'Expired'}]}]}");
	assert_json_equal(json, expected);
	request_free(request);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_what_is_within_is_granted, teardown),
		cmocka_unit_test_teardown(test_the_callers_address_is_the_source, teardown),
		cmocka_unit_test_teardown(test_without_a_duration_it_is_an_hour_at_most, teardown),
		cmocka_unit_test_teardown(test_an_end_a_little_late_is_cut, teardown),
		cmocka_unit_test_teardown(test_refusals_have_their_codes, teardown),
		cmocka_unit_test_teardown(test_bodies_that_make_no_sense, teardown),
		cmocka_unit_test_teardown(test_another_policy_can_only_tighten, teardown),
		cmocka_unit_test_teardown(test_protocols_are_those_of_the_rules, teardown),
		cmocka_unit_test_teardown(test_one_policy_that_wants_approval_is_enough, teardown),
		cmocka_unit_test_teardown(test_time_begins_with_the_approval, teardown),
		cmocka_unit_test_teardown(test_an_absolute_end_stays_while_it_waits, teardown),
		cmocka_unit_test_teardown(test_what_is_stored_is_read_again, teardown),
		cmocka_unit_test_teardown(test_azures_shape, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
