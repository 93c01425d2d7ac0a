/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Reading the log, newest first. It is ranged from the store, a piece at a time: what a call may
 * read is bounded, so a page may be short, or empty, and still have a next one. Of each principal
 * one page is read at a time, so that between two pieces everybody has their turn.
 */

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "contrib/control-plane/activity/activity.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/state/instant.h"

#define PREFIX "activity/"
#define TOP 100
#define TOP_MAX 1000
#define PIECE 256 /* entries ranged at once */
#define ENTRIES_PER_CALL 8192
#define PAGES_PER_PRINCIPAL 16 /* that are read, or wait for it */

static const char *const parameters[] = { "vm", "request", "principal", "since", "until", "top",
	NULL };

/* A page in the making. */
struct page {
	struct page *next; /* in order of the calls */
	struct activity *activity;
	struct http_request *request;
	char *from;
	char *to; /* what comes next is before it */
	size_t n_top;
	size_t n_read;
	json_t *value;
};

static void page_free(struct page *page)
{
	json_decref(page->value);
	free(page->from);
	free(page->to);
	free(page);
}

static bool member_is(const json_t *entry, const char *name, const char *wanted)
{
	const char *value = json_string_value(json_object_get(entry, name));

	return !wanted || (value && strcasecmp(value, wanted) == 0);
}

/* Of a VM's entry the VM decides, of others the policy, and of others still only "/". */
static bool may_read(const struct principal *principal, const json_t *entry)
{
	const char *vm = json_string_value(json_object_get(entry, "vm"));
	const char *resource = json_string_value(json_object_get(entry, "resource"));

	return principal_may_read(principal, vm ? vm : resource ? resource : "/");
}

static bool page_wants(const struct page *page, const json_t *entry)
{
	const struct http_request *request = page->request;

	return member_is(entry, "vm", http_request_query(request, "vm")) &&
		member_is(entry, "request", http_request_query(request, "request")) &&
		member_is(entry, "principal", http_request_query(request, "principal")) &&
		may_read(api_principal(request), entry);
}

static int page_read(struct page *page);
static void page_fail(struct page *page, int error);

static bool page_is_of(const struct page *page, const struct principal *principal)
{
	return strcmp(api_principal(page->request)->name, principal->name) == 0;
}

/* The principal's next page is read now. Before the answer, with which the principal goes. */
static void page_leave(struct page *page)
{
	const struct principal *principal = api_principal(page->request);
	struct page **at = &page->activity->pages, *next;
	int r;

	while (*at != page)
		at = &(*at)->next;
	*at = page->next;
	for (next = page->activity->pages; next; next = next->next)
		if (page_is_of(next, principal))
			break;
	r = next ? page_read(next) : 0;
	if (r < 0)
		page_fail(next, r);
}

static void page_respond(struct page *page, const char *last)
{
	json_t *value = json_incref(page->value);

	page_leave(page);
	http_respond_json(page->request, 200,
		api_page(page->request, page->activity->url, value,
			last ? last + strlen(PREFIX) : NULL, parameters));
	page_free(page);
}

static void page_fail(struct page *page, int error)
{
	page_leave(page);
	api_respond_error(page->request, error);
	page_free(page);
}

static void page_on_range(int error, const struct store_range_result *result, void *userdata)
{
	struct page *page = userdata;
	const char *last = NULL;
	char *to;

	if (error < 0)
		return page_fail(page, error);
	for (size_t i = 0; i < result->n_entries; i++) {
		json_auto_t *entry =
			json_loadb(result->entries[i].value, result->entries[i].n_value, 0, NULL);

		last = result->entries[i].key;
		if (!entry || !page_wants(page, entry))
			continue;
		json_array_append(page->value, entry);
		if (json_array_size(page->value) == page->n_top)
			return page_respond(
				page, i + 1 < result->n_entries || result->more ? last : NULL);
	}
	page->n_read += result->n_entries;
	if (!result->more || page->n_read >= ENTRIES_PER_CALL)
		return page_respond(page, result->more ? last : NULL);
	to = strdup(last);
	if (!to)
		return page_fail(page, -ENOMEM);
	free(page->to);
	page->to = to;
	error = page_read(page);
	if (error < 0)
		page_fail(page, error);
}

static int page_read(struct page *page)
{
	return store_range(page->activity->store,
		&(struct store_range){
			.from = page->from,
			.to = page->to,
			.limit = PIECE,
			.descending = true,
		},
		page_on_range, page);
}

/* Reads it, or has it wait for those that the principal asked for before. */
static void page_begin(struct page *page)
{
	const struct principal *principal = api_principal(page->request);
	struct page **at = &page->activity->pages;
	size_t n = 0;
	int r;

	for (; *at; at = &(*at)->next)
		n += page_is_of(*at, principal);
	if (n >= PAGES_PER_PRINCIPAL) {
		http_request_add_header(page->request, "Retry-After", "5");
		http_respond_error(page->request, 429, "TooManyRequests",
			"%zu calls of %s read the activity log already", n, principal->name);
		return page_free(page);
	}
	*at = page;
	r = n == 0 ? page_read(page) : 0;
	if (r < 0)
		page_fail(page, r);
}

/* A bound as keys have it. False where it has answered. */
static bool bound_of(
	struct http_request *request, const char *name, const char *fallback, char **ret)
{
	const char *text = http_request_query(request, name);
	char instant[INSTANT_STRING_MAX];
	int64_t usec;

	if (text && instant_parse(text, &usec) < 0) {
		http_respond_error(request, 400, "InvalidRequestContent",
			"%s is not a time as \"2026-01-01T10:00:00Z\"", name);
		return false;
	}
	if (asprintf(ret, PREFIX "%s", text ? instant_format(usec, instant) : fallback) < 0) {
		*ret = NULL;
		api_respond_error(request, -ENOMEM);
		return false;
	}
	return true;
}

static void handle_list(struct http_request *request, void *userdata)
{
	const char *token = api_skip_token(request);
	struct page *page = calloc(1, sizeof(*page));
	int r = page ? 0 : -ENOMEM;

	if (r < 0)
		return api_respond_error(request, r);
	page->activity = userdata;
	page->request = request;
	page->value = json_array();
	if (!api_top(request, TOP, TOP_MAX, &page->n_top) ||
		!bound_of(request, "since", "", &page->from) ||
		!bound_of(request, "until", "~", &page->to))
		return page_free(page);
	/* Of another's making it reads nothing outside the log, and what of it they may not read
	 * stays hidden. */
	if (token && strlen(token) <= API_TOKEN_BYTES_MAX) {
		char *to = NULL;

		r = asprintf(&to, PREFIX "%s", token) < 0 ? -ENOMEM : 0;
		if (r == 0 && strcmp(to, page->to) < 0) {
			free(page->to);
			page->to = to;
		} else {
			free(to);
		}
	}
	if (r < 0) {
		api_respond_error(request, r);
		return page_free(page);
	}
	page_begin(page);
}

const struct http_route activity_routes[] = {
	{ .method = "GET", .pattern = "/v1/activity", .name = "activity", .handle = handle_list },
	{ 0 },
};
