/* SPDX-License-Identifier: GPL-3.0-or-later */

/* JIT policies as people send them, and what is refused of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/server_fixture.h"

#define PORT \
	"{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '*', " \
	"'maxRequestAccessDuration': 'PT3H'}"

static void test_azures_own_body_is_read(void **state)
{
	struct policy *policy = policy_make("default",
		"{'kind': 'Basic', 'future': [1], 'properties': {'provisioningState': 'Failed', "
		"'requests': [], 'virtualMachines': [{'id': '" VM_1 "', 'extra': null, "
		"'publicIpAddress': '192.0.2.1', 'ports': [" PORT
		", {'number': 53, 'protocol': '*', 'allowedSourceAddressPrefixes': ['10.0.0.0/8', "
		"'2001:db8::/32'], 'maxRequestAccessDuration': 'PT90M', 'approvalRequired': "
		"true}]}]}}");
	json_auto_t *json = policy_to_json(policy, NULL, NULL);
	json_auto_t *expected = json_make(
		"{'id': '" POLICY_ID "', 'name': 'default', 'type': "
		"'Microsoft.Security/locations/jitNetworkAccessPolicies', 'kind': 'Basic', "
		"'location': 'westeurope', 'properties': {'provisioningState': 'Succeeded', "
		"'virtualMachines': [{'id': '" VM_1 "', 'publicIpAddress': '192.0.2.1', 'ports': "
		"[" PORT ", {'number': 53, 'protocol': '*', 'allowedSourceAddressPrefixes': "
		"['10.0.0.0/8', '2001:db8::/32'], 'maxRequestAccessDuration': 'PT1H30M', "
		"'approvalRequired': true}]}]}}");
	_cleanup_(policy_freep) struct policy *again = NULL;
	struct problem problem;

	(void)state;
	assert_json_equal(json, expected);
	assert_int_equal(policy_from_json(json, &again, &problem), 0);
	assert_string_equal(again->key, policy->key);
	assert_int_equal(again->vms[0].ports[1].max_duration, 5400);
	assert_true(again->vms[0].ports[1].needs_approval);
	policy_free(policy);
}

static void test_what_is_wrong_is_told(void **state)
{
	static const struct {
		const char *body;
		const char *message;
	} cases[] = {
		{ "{}", "properties is missing or not an object" },
		{ "{'kind': 5, 'properties': {}}", "kind is not a string" },
		{ "{'properties': {}}", "properties.virtualMachines is not a list" },
		{ "{'properties': {'virtualMachines': [5]}}", "virtual machine 1: not an object" },
		{ "{'properties': {'virtualMachines': [{}]}}", "virtual machine 1: id is missing" },
		{ "{'properties': {'virtualMachines': [{'id': 'web-1'}]}}",
			"virtual machine 1: id \"web-1\" does not begin with /subscriptions/" },
		{ "{'properties': {'virtualMachines': [{'id': '" VM_1 "', 'ports': []}]}}",
			"virtual machine 1: ports is not a list of 1 to 64 port rules" },
		{ "{'properties': {'virtualMachines': [{'id': '" VM_1 "', 'ports': [" PORT
		  "]}, {'id': '/SUBSCRIPTIONS/s/resourceGroups/rg/providers/Microsoft.Compute/"
		  "virtualMachines/VM1', 'ports': [" PORT "]}]}}",
			"is given twice" },
	};
	static const struct {
		const char *port;
		const char *message;
	} ports[] = {
		{ "5", "not an object" },
		{ "{}", "number is missing" },
		{ "{'number': 0}", "number is not a whole number from 1 to 65535" },
		{ "{'number': 65536}", "number is not a whole number from 1 to 65535" },
		{ "{'number': '22'}", "number is not a whole number from 1 to 65535" },
		{ "{'number': 22}", "protocol is missing" },
		{ "{'number': 22, 'protocol': 'ICMP'}", "protocol \"ICMP\" is not TCP, UDP or *" },
		{ "{'number': 22, 'protocol': 'TCP'}", "allowedSourceAddressPrefix or" },
		{ "{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '10.0.0.1/8'}",
			"\"10.0.0.1/8\" has host bits set beyond its length" },
		{ "{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefixes': []}",
			"is not a list of 1 to 64 prefixes" },
		{ "{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '*', "
		  "'allowedSourceAddressPrefixes': ['*']}",
			"gives both" },
		{ "{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '*'}",
			"maxRequestAccessDuration is missing" },
		{ "{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '*', "
		  "'maxRequestAccessDuration': 'PT4M'}",
			"from 5 minutes to 1 day" },
		{ "{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '*', "
		  "'maxRequestAccessDuration': 'P2D'}",
			"from 5 minutes to 1 day" },
		{ "{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '*', "
		  "'maxRequestAccessDuration': 'PT3H', 'approvalRequired': 'yes'}",
			"approvalRequired is not true or false" },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		policy_refused(cases[i].body, cases[i].message);
	for (size_t i = 0; i < N_ELEMENTS(ports); i++) {
		_cleanup_(freep) char *body = NULL;

		assert_true(asprintf(&body,
				    "{'properties': {'virtualMachines': [{'id': '%s', 'ports': "
				    "[%s]}]}}",
				    VM_1, ports[i].port) > 0);
		policy_refused(body, ports[i].message);
	}
}

static void test_names_of_vms(void **state)
{
	(void)state;
	assert_null(vm_id_check(VM_1));
	assert_null(vm_id_check("/subscriptions/s/resourceGroups/r/providers/"
				"Microsoft.HybridCompute/machines/x"));
	assert_non_null(vm_id_check(""));
	assert_non_null(vm_id_check("/subscriptions/s"));
	assert_non_null(vm_id_check("/subscriptions/s//virtualMachines/x"));
	assert_non_null(vm_id_check("/subscriptions/s/virtualMachines/"));
	assert_non_null(vm_id_check("/subscriptions/s/virtualMachines/a|policy"));
	assert_non_null(vm_id_check("/subscriptions/s/virtualMachines/a\n"));
	assert_non_null(vm_id_check("/subscriptions/s/../t/virtualMachines/a"));
	assert_non_null(vm_id_check("/subscriptions/./virtualMachines/a"));
	assert_non_null(vm_id_check("/subscriptions/s/virtualMachines/.."));
	assert_null(vm_id_check("/subscriptions/s/.a/..b/virtualMachines/..."));
}

static void test_ids_of_requests(void **state)
{
	char first[REQUEST_ID_BYTES_MAX], second[REQUEST_ID_BYTES_MAX];
	char grant[GRANT_ID_BYTES_MAX], request[REQUEST_ID_BYTES_MAX];
	_cleanup_(freep) char *exact = NULL;
	size_t vm, port;

	(void)state;
	request_id_new(1767261600000000, first);
	request_id_new(1767261600000001, second);
	assert_true(request_id_is_valid(first));
	assert_true(strcmp(first, second) < 0);
	assert_int_equal(strlen(first), 34);
	grant_id_format(first, 12, 63, grant);
	assert_true(grant_id_parse(grant, request, &vm, &port));
	assert_string_equal(request, first);
	assert_int_equal(vm, 12);
	assert_int_equal(port, 63);
	/* In memory of its own, so that reading past its end shows under sanitizers. */
	exact = strdup(first);
	assert_non_null(exact);
	assert_false(grant_id_parse(exact, request, &vm, &port));
	assert_false(grant_id_parse("r-1.0.0", request, &vm, &port));
	strcat(grant, ".1");
	assert_false(grant_id_parse(grant, request, &vm, &port));
	assert_false(request_id_is_valid("r-"));
	first[33] = 'G';
	assert_false(request_id_is_valid(first));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_azures_own_body_is_read),
		cmocka_unit_test(test_what_is_wrong_is_told),
		cmocka_unit_test(test_names_of_vms),
		cmocka_unit_test(test_ids_of_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
