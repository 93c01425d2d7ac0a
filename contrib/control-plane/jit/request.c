/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/jit/request.h"
#include "contrib/control-plane/state/instant.h"

static const struct {
	const char *status;
	const char *reason;
} statuses[] = {
	[ACCESS_GRANTED] = { "Initiated", "UserRequested" },
	[ACCESS_PENDING] = { "PendingApproval", "ApprovalRequired" },
	[ACCESS_REPLACED] = { "Revoked", "NewerRequestInitiated" },
	[ACCESS_REVOKED] = { "Revoked", "UserRequested" },
	[ACCESS_DENIED] = { "Revoked", "Denied" },
	[ACCESS_EXPIRED] = { "Revoked", "Expired" },
};

enum access_status access_status_at(
	const struct request *request, const struct access *access, int64_t now)
{
	int64_t end = access->end;

	if (access->status > ACCESS_PENDING || now == 0)
		return access->status;
	if (access->status == ACCESS_PENDING)
		end = access->duration || request->approval_until < end ? request->approval_until
									: end;
	return now >= end ? ACCESS_EXPIRED : access->status;
}

void access_end(struct access *access, enum access_status status)
{
	access->ends = true;
	access->shuts = access->status == ACCESS_GRANTED;
	access->status = status;
}

bool access_is_same(const struct access *a, const struct access *b)
{
	return a->number == b->number && a->source.family == b->source.family &&
		a->source.length == b->source.length &&
		address_compare(&a->source.address, &b->source.address) == 0;
}

bool request_is_active(const struct request *request, int64_t now)
{
	for (size_t i = 0; i < request->n_vms; i++)
		for (size_t k = 0; k < request->vms[i].n_ports; k++)
			if (access_status_at(request, &request->vms[i].ports[k], now) <=
				ACCESS_PENDING)
				return true;
	return false;
}

int64_t request_ends(const struct request *request)
{
	int64_t end = request->approval_until;

	for (size_t i = 0; i < request->n_vms; i++)
		for (size_t k = 0; k < request->vms[i].n_ports; k++)
			if (request->vms[i].ports[k].end > end)
				end = request->vms[i].ports[k].end;
	return end;
}

int64_t request_revision(const struct request *request)
{
	int64_t revision = request->mod_revision;

	for (size_t i = 0; i < request->n_vms; i++)
		for (size_t k = 0; k < request->vms[i].n_ports; k++)
			if (request->vms[i].ports[k].progress.mod_revision > revision)
				revision = request->vms[i].ports[k].progress.mod_revision;
	return revision;
}

const char *request_first_vm(const struct request *request)
{
	return request->n_vms > 0 ? request->vms[0].id : NULL;
}

json_t *progress_to_json(const struct progress *progress)
{
	json_t *refused = NULL;

	/* What an agent refused for now, it may have taken since. */
	if (progress->refused_code && progress->installed == 0)
		refused = json_pack("{s:s, s:s*}", "code", progress->refused_code, "message",
			progress->refused_message);
	return json_pack("{s:o*, s:o*, s:o*, s:o*, s:o*}", "delivered",
		instant_to_json(progress->delivered), "installed",
		instant_to_json(progress->installed), "firstConnection",
		instant_to_json(progress->first_connection), "ended",
		instant_to_json(progress->ended), "refused", refused);
}

static int copy_optional(const char *text, char **ret)
{
	if (!text)
		return 0;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

int progress_from_json(struct progress *progress, const json_t *json)
{
	const json_t *refused = json_object_get(json, "refused");
	int r;

	progress->delivered = instant_from_json(json, "delivered");
	progress->installed = instant_from_json(json, "installed");
	progress->first_connection = instant_from_json(json, "firstConnection");
	progress->ended = instant_from_json(json, "ended");
	r = copy_optional(
		json_string_value(json_object_get(refused, "code")), &progress->refused_code);
	if (r == 0)
		r = copy_optional(json_string_value(json_object_get(refused, "message")),
			&progress->refused_message);
	return r;
}

void progress_done(struct progress *progress)
{
	free(progress->refused_code);
	free(progress->refused_message);
	memset(progress, 0, sizeof(*progress));
}

int decision_set(struct decision *decision, const char *by, int64_t at_usec, const char *reason)
{
	char *new_by = strdup(by), *new_reason = reason ? strdup(reason) : NULL;

	if (!new_by || (reason && !new_reason)) {
		free(new_by);
		free(new_reason);
		return -ENOMEM;
	}
	free(decision->by);
	free(decision->reason);
	*decision = (struct decision){ new_by, at_usec, new_reason };
	return 0;
}

static json_t *decision_to_json(const struct decision *decision)
{
	if (!decision->by)
		return NULL;
	return json_pack("{s:s, s:o*, s:s*}", "by", decision->by, "at",
		instant_to_json(decision->at), "reason", decision->reason);
}

static int decision_from_json(const json_t *json, struct decision *ret)
{
	const char *by = json_string_value(json_object_get(json, "by"));

	return by ? decision_set(ret, by, instant_from_json(json, "at"),
			    json_string_value(json_object_get(json, "reason")))
		  : 0;
}

/* What only REQUEST_FULL has. */
static void add_full(json_t *json, const struct request *request, const struct access *access,
	size_t i_vm, size_t i_port)
{
	char grant[GRANT_ID_BYTES_MAX];

	grant_id_format(request->key, i_vm, i_port, grant);
	json_object_set_new(json, "grant", json_string(grant));
	json_object_set_new(json, "progress", progress_to_json(&access->progress));
}

static json_t *access_to_json(const struct request *request, enum request_form form, int64_t now,
	size_t i_vm, size_t i_port)
{
	const struct access *access = &request->vms[i_vm].ports[i_port];
	char source[PREFIX_STRING_MAX], end[TIME_STRING_MAX], duration[TIME_STRING_MAX];
	enum access_status status = access_status_at(request, access, now);
	json_t *json = json_pack("{s:i, s:s, s:s, s:s, s:s}", "number", access->number,
		"allowedSourceAddressPrefix", prefix_format(&access->source, source), "endTimeUtc",
		time_format_utc(access->end, end), "status", statuses[status].status,
		"statusReason", statuses[status].reason);

	if (form == REQUEST_AZURE || !json)
		return json;
	json_object_set_new(json, "protocol", json_string(protocol_format(access->protocols)));
	if (access->duration)
		json_object_set_new(
			json, "duration", json_string(duration_format(access->duration, duration)));
	if (form == REQUEST_FULL)
		add_full(json, request, access, i_vm, i_port);
	return json;
}

static json_t *vms_to_json(const struct request *request, enum request_form form, int64_t now,
	bool (*shows)(const char *vm_id, const void *userdata), const void *userdata)
{
	json_t *vms = json_array();

	for (size_t i = 0; i < request->n_vms; i++) {
		const struct request_vm *vm = &request->vms[i];
		json_t *ports;

		if (shows && !shows(vm->id, userdata))
			continue;
		ports = json_array();
		for (size_t k = 0; k < vm->n_ports; k++)
			json_array_append_new(ports, access_to_json(request, form, now, i, k));
		json_array_append_new(vms, json_pack("{s:s, s:o}", "id", vm->id, "ports", ports));
	}
	return vms;
}

json_t *request_to_json(const struct request *request, enum request_form form, int64_t now,
	bool (*shows)(const char *vm_id, const void *userdata), const void *userdata)
{
	char until[TIME_STRING_MAX];
	json_t *json = json_pack("{s:s, s:s, s:o*, s:s*, s:o}", "id", request->key, "requestor",
		request->requestor, "startTimeUtc", instant_to_json(request->started),
		"justification", request->justification, "virtualMachines",
		vms_to_json(request, form, now, shows, userdata));

	if (form == REQUEST_AZURE || !json)
		return json;
	json_object_set_new(json, "policy", json_string(request->policy));
	if (request->approval_until)
		json_object_set_new(json, "approvalUntilUtc",
			json_string(time_format_utc(request->approval_until, until)));
	if (request->approval.by)
		json_object_set_new(json, "approval", decision_to_json(&request->approval));
	if (request->revocation.by)
		json_object_set_new(json, "revocation", decision_to_json(&request->revocation));
	if (form == REQUEST_FULL)
		json_object_set_new(json, "revision", json_integer(request_revision(request)));
	return json;
}

static int status_parse(const json_t *json, enum access_status *ret)
{
	const char *status = json_string_value(json_object_get(json, "status"));
	const char *reason = json_string_value(json_object_get(json, "statusReason"));

	for (size_t i = 0; status && reason && i < N_ELEMENTS(statuses); i++)
		if (strcmp(status, statuses[i].status) == 0 &&
			strcmp(reason, statuses[i].reason) == 0) {
			*ret = (enum access_status)i;
			return 0;
		}
	return -EINVAL;
}

static int access_from_json(const json_t *json, struct access *access)
{
	const char *source, *end, *protocol, *duration;
	int number;

	if (json_unpack((json_t *)(uintptr_t)json, "{s:i, s:s, s:s, s:s}", "number", &number,
		    "allowedSourceAddressPrefix", &source, "endTimeUtc", &end, "protocol",
		    &protocol) < 0)
		return -EINVAL;
	access->number = (uint16_t)number;
	duration = json_string_value(json_object_get(json, "duration"));
	if (prefix_parse(source, &access->source) < 0 || time_parse_utc(end, &access->end) < 0 ||
		protocol_parse(protocol, &access->protocols) < 0 ||
		(duration && duration_parse(duration, &access->duration) < 0))
		return -EINVAL;
	return status_parse(json, &access->status);
}

static int vm_from_json(const json_t *json, struct request_vm *vm)
{
	const json_t *ports = json_object_get(json, "ports"), *port;
	const char *id = json_string_value(json_object_get(json, "id"));
	size_t i;
	int r;

	if (!id)
		return -EINVAL;
	vm->id = strdup(id);
	vm->key = name_lower(id);
	vm->ports = calloc(json_array_size(ports) + 1, sizeof(*vm->ports));
	if (!vm->id || !vm->key || !vm->ports)
		return -ENOMEM;
	json_array_foreach (ports, i, port) {
		vm->n_ports++;
		r = access_from_json(port, &vm->ports[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int strings_from_json(const json_t *json, struct request *request)
{
	const char *requestor = json_string_value(json_object_get(json, "requestor"));
	const char *policy = json_string_value(json_object_get(json, "policy"));
	int r;

	if (!requestor || !policy)
		return -EINVAL;
	request->requestor = strdup(requestor);
	request->policy = strdup(policy);
	request->policy_key = name_lower(policy);
	if (!request->requestor || !request->policy || !request->policy_key)
		return -ENOMEM;
	r = copy_optional(
		json_string_value(json_object_get(json, "justification")), &request->justification);
	if (r == 0)
		r = decision_from_json(json_object_get(json, "approval"), &request->approval);
	if (r == 0)
		r = decision_from_json(json_object_get(json, "revocation"), &request->revocation);
	return r;
}

int request_from_json(const char *id, const json_t *json, struct request **ret)
{
	_cleanup_(request_freep) struct request *request = calloc(1, sizeof(*request));
	const json_t *vms = json_object_get(json, "virtualMachines"), *vm;
	size_t i;
	int r;

	if (!request)
		return -ENOMEM;
	request->key = strdup(id);
	request->vms = calloc(json_array_size(vms) + 1, sizeof(*request->vms));
	if (!request->key || !request->vms)
		return -ENOMEM;
	request->started = instant_from_json(json, "startTimeUtc");
	request->approval_until =
		instant_from_json(json, "approvalUntilUtc") / (int64_t)USEC_PER_SEC;
	r = strings_from_json(json, request);
	if (r < 0)
		return r;
	json_array_foreach (vms, i, vm) {
		request->n_vms++;
		r = vm_from_json(vm, &request->vms[i]);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(request);
	return 0;
}

int request_copy(const struct request *request, struct request **ret)
{
	json_auto_t *json = request_to_json(request, REQUEST_STORED, 0, NULL, NULL);
	int r;

	if (!json)
		return -ENOMEM;
	r = request_from_json(request->key, json, ret);
	if (r < 0)
		return r;
	(*ret)->mod_revision = request->mod_revision;
	return 0;
}

static void request_vm_done(struct request_vm *vm)
{
	for (size_t i = 0; i < vm->n_ports; i++)
		progress_done(&vm->ports[i].progress);
	free(vm->ports);
	free(vm->id);
	free(vm->key);
}

struct request *request_free(struct request *request)
{
	if (!request)
		return NULL;
	for (size_t i = 0; i < request->n_vms; i++)
		request_vm_done(&request->vms[i]);
	free(request->vms);
	free(request->approval.by);
	free(request->approval.reason);
	free(request->revocation.by);
	free(request->revocation.reason);
	free(request->requestor);
	free(request->justification);
	free(request->policy);
	free(request->policy_key);
	free(request->key);
	free(request);
	return NULL;
}
