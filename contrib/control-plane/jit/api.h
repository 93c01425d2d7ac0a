/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What routes share: who calls, pages, problems as answers. */

#include "contrib/control-plane/http/http.h"
#include "contrib/control-plane/identity/identity.h"
#include "contrib/control-plane/jit/policy.h"
#include "contrib/control-plane/jit/problem.h"

#define API_TOKEN_BYTES_MAX 1024

/* Who calls, of a route that asks for a person; borrowed. */
const struct principal *api_principal(const struct http_request *request);

/* For the shows of policy_to_json() and its like: userdata is a principal. */
bool api_may_read(const char *resource, const void *userdata);

/* True for who may read its id or one of its VMs. */
bool policy_may_be_read(const struct policy *policy, const struct principal *principal);

void api_respond_problem(struct http_request *request, const struct problem *problem);

/* 500 or 503, as error (-errno) has it; -EBUSY: 409 would be the caller's fault, so 503. */
void api_respond_error(struct http_request *request, int error);

/* Reads "$top" or "top", from 1 to n_max; n where there is none. False where it has answered. */
bool api_top(struct http_request *request, size_t n, size_t n_max, size_t *ret);

/* "$skipToken" or "skipToken"; NULL where there is none. */
const char *api_skip_token(const struct http_request *request);

/* A whole number from 0 up in the query; ret stays where there is none. False where it has
 * answered. */
bool api_number(struct http_request *request, const char *name, int64_t max, int64_t *ret);

/*
 * {"value": value, "nextLink": …}: value is consumed; token NULL: the last page. The link repeats
 * those of the query's parameters that are named (ended by NULL).
 */
json_t *api_page(const struct http_request *request, const char *url, json_t *value,
	const char *token, const char *const *parameters);

/* A string of the body that may be absent (*ret NULL). Returns 0 or PROBLEM. */
int api_body_string(const json_t *body, const char *name, size_t n_bytes_max, const char **ret,
	struct problem *problem);
