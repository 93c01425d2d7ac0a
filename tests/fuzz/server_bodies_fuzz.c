/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Bodies that people and agents send to the control plane: a byte for the kind, then the text. */

#include <errno.h>
#include <jansson.h>

#include "agent/common/strictjson.h"
#include "contrib/control-plane/feed/event.h"
#include "contrib/control-plane/jit/ask.h"
#include "contrib/control-plane/jit/claims.h"
#include "contrib/control-plane/jit/names.h"
#include "tests/fuzz/fuzz.h"

#define NOW_USEC INT64_C(1767261600250000)
#define ID "r-0198c2f4a1b27c3e8f0123456789abcd"
#define VM "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm1"

static const char body_of_policy[] =
	"{\"properties\": {\"virtualMachines\": [{\"id\": \"" VM "\", \"ports\": [{\"number\": 22, "
	"\"protocol\": \"TCP\", \"allowedSourceAddressPrefixes\": [\"192.0.2.0/24\", "
	"\"2001:db8::/32\"], \"maxRequestAccessDuration\": \"PT3H\"}, {\"number\": 53, "
	"\"protocol\": \"*\", \"allowedSourceAddressPrefix\": \"*\", "
	"\"maxRequestAccessDuration\": \"P1D\", \"approvalRequired\": true}]}]}}";

static const struct policy_path path = { "s", "rg", "westeurope", "default" };

static void check_problem(const struct problem *problem)
{
	CHECK(problem->status == 400);
	CHECK(problem->code && *problem->code);
	check_message(problem->message);
}

static void try_policy(const json_t *body)
{
	_cleanup_(policy_freep) struct policy *policy = NULL, *again = NULL;
	json_auto_t *json = NULL, *second = NULL;
	struct problem problem = { 0 };
	int r = policy_from_body(&path, body, &policy, &problem);

	if (r != 0) {
		CHECK(r == PROBLEM && !policy);
		return check_problem(&problem);
	}
	CHECK(policy->n_vms <= POLICY_VMS_MAX);
	json = policy_to_json(policy, NULL, NULL);
	CHECK(json && policy_from_json(json, &again, &problem) == 0);
	second = policy_to_json(again, NULL, NULL);
	CHECK(json_equal(json, second));
	for (size_t i = 0; i < policy->n_vms; i++) {
		_cleanup_(document_freep) struct document *document = NULL;
		json_auto_t *claims = NULL;
		json_t *ports = json_array();
		struct refusal refusal = { 0 };

		CHECK(!vm_id_check(policy->vms[i].id));
		CHECK(policy_find_vm(policy, policy->vms[i].key) == &policy->vms[i]);
		CHECK(policy_vm_add_claims(&policy->vms[i], ports) == 0);
		claims = claims_policy(policy->vms[i].id, ports, "https://jit", 1, 1);
		/* What is accepted here an agent takes. */
		CHECK(document_from_claims(DOCUMENT_POLICY, claims, &document, &refusal) == 0);
	}
}

static struct policy *known;

static struct policy_list find_policies(const char *vm_key, void *userdata)
{
	(void)vm_key, (void)userdata;
	return (struct policy_list){ (const struct policy *const *)&known, 1 };
}

static void check_request(const struct request *request)
{
	_cleanup_(request_freep) struct request *again = NULL;
	json_auto_t *json = request_to_json(request, REQUEST_STORED, 0, NULL, NULL);
	json_auto_t *full = request_to_json(request, REQUEST_FULL, NOW_USEC / 1000000, NULL, NULL);
	json_auto_t *second = NULL;

	CHECK(json && full);
	CHECK(request_from_json(ID, json, &again) == 0);
	second = request_to_json(again, REQUEST_STORED, 0, NULL, NULL);
	CHECK(json_equal(json, second));
	for (size_t i = 0; i < request->n_vms; i++)
		for (size_t k = 0; k < request->vms[i].n_ports; k++) {
			_cleanup_(document_freep) struct document *document = NULL;
			json_auto_t *claims =
				claims_grant(request, i, k, "https://jit", NOW_USEC / 1000000);
			struct refusal refusal = { 0 };

			CHECK(document_from_claims(DOCUMENT_GRANT, claims, &document, &refusal) ==
				0);
			CHECK(document->expires - document->issued_at <= ACCESS_SECONDS_MAX);
		}
}

static void try_ask(const json_t *body, bool azure)
{
	const struct evaluation evaluation = {
		.id = ID,
		.requestor = "alice",
		.now_usec = NOW_USEC,
		.family = AF_INET,
		.address = { { 192, 0, 2, 7 } },
		.find_policies = find_policies,
	};
	_cleanup_(request_freep) struct request *request = NULL;
	_cleanup_(ask_freep) struct ask *ask = NULL;
	struct problem problem = { 0 };
	int r = azure ? ask_from_initiate(body, &ask, &problem)
		      : ask_from_body(body, &ask, &problem);

	if (r == 0)
		r = ask_evaluate(ask, known, &evaluation, &request, &problem);
	if (r != 0) {
		CHECK(r == PROBLEM && !request);
		return check_problem(&problem);
	}
	check_request(request);
}

static void try_event(const json_t *body)
{
	struct progress progress = { 0 };
	struct problem problem = { 0 };
	struct event event;
	int r = event_read(body, 0, "/vm", NOW_USEC, &event, &problem);

	if (r != 0) {
		CHECK(r == PROBLEM);
		check_problem(&problem);
	} else {
		CHECK(strlen(event.key) < EVENT_KEY_BYTES_MAX && strchr(event.key, '/'));
		CHECK(!event.message || text_is_printable(event.message));
		CHECK(event_apply(&event, &progress));
		CHECK(!event_apply(&event, &progress));
	}
	progress_done(&progress);
	event_done(&event);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	json_auto_t *body = json_loads(body_of_policy, 0, NULL);
	struct problem problem;

	(void)argc, (void)argv;
	CHECK(policy_from_body(&path, body, &known, &problem) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned kind = take_byte(&data, &size) % 4;
	_cleanup_(freep) char *text = take_text(data, size);
	json_auto_t *body = NULL;
	char error[256];

	if (json_parse_object(text, size, &body, error, sizeof(error)) != 0)
		return 0;
	if (kind == 0)
		try_policy(body);
	else if (kind == 3)
		try_event(body);
	else
		try_ask(body, kind == 1);
	return 0;
}
