/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <search.h>
#include <string.h>

#include "agent/daemon/registry.h"

struct registry {
	void *tree; /* tsearch(3), by id */
	size_t n_entries;
	size_t n_revoked;
	/* Live grants by tag: a slot that is free names the next free one. */
	struct slot {
		struct grant *grant;
		uint32_t next_free;
	} * slots;
	uint32_t n_slots;
	uint32_t n_slots_allocated;
	uint32_t first_free;
	size_t n_live;
	size_t n_prefixes; /* of live grants */
	/* Ids of grants that have ended, oldest first, in a ring. */
	char **ended;
	size_t n_ended;
	size_t first_ended;
};

/* What was open is shown of grants that have ended, unless it is as much as this: memory is for
 * those that live. */
#define ENDED_PREFIXES_MAX 64

#define NO_SLOT UINT32_MAX
/* Room for ended grants whose time is not over yet, and which must stay. */
#define ENDED_ALLOCATED (16 * REGISTRY_ENDED_MAX)

static int compare_entries(const void *a, const void *b)
{
	const struct registry_entry *x = a, *y = b;

	return strcmp(x->id, y->id);
}

static void entry_free(void *item)
{
	struct registry_entry *entry = item;

	grant_free(entry->grant);
	grant_free(entry->let_in);
	free(entry->untold_end);
	free(entry->id);
	free(entry);
}

int registry_new(struct registry **ret)
{
	struct registry *registry = calloc(1, sizeof(*registry));

	if (!registry)
		return -ENOMEM;
	registry->first_free = NO_SLOT;
	*ret = registry;
	return 0;
}

struct registry *registry_free(struct registry *registry)
{
	if (!registry)
		return NULL;
	for (size_t i = 0; i < registry->n_ended; i++)
		free(registry->ended[(registry->first_ended + i) % ENDED_ALLOCATED]);
	free(registry->ended);
	tdestroy(registry->tree, entry_free);
	free(registry->slots);
	free(registry);
	return NULL;
}

struct registry_entry *registry_find(const struct registry *registry, const char *id)
{
	char *key_id = strdupa(id);
	const struct registry_entry key = { .id = key_id };
	void *found = tfind(&key, &registry->tree, compare_entries);

	return found ? *(struct registry_entry **)found : NULL;
}

int registry_get(struct registry *registry, const char *id, struct registry_entry **ret)
{
	struct registry_entry *entry = registry_find(registry, id);

	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (!entry)
			return -ENOMEM;
		entry->id = strdup(id);
		if (!entry->id || !tsearch(entry, &registry->tree, compare_entries)) {
			entry_free(entry);
			return -ENOMEM;
		}
		registry->n_entries++;
	}
	*ret = entry;
	return 0;
}

int registry_add_grant(struct registry *registry, struct registry_entry *entry, struct grant *grant)
{
	if (registry->first_free == NO_SLOT) {
		if (registry->n_slots == registry->n_slots_allocated) {
			uint32_t n = registry->n_slots ? 2 * registry->n_slots : 64;
			struct slot *slots =
				reallocarray(registry->slots, n, sizeof(*registry->slots));

			if (!slots)
				return -ENOMEM;
			registry->slots = slots;
			registry->n_slots_allocated = n;
		}
		registry->slots[registry->n_slots].next_free = NO_SLOT;
		registry->first_free = registry->n_slots++;
	}
	grant->tag = registry->first_free;
	registry->first_free = registry->slots[grant->tag].next_free;
	registry->slots[grant->tag].grant = grant;
	registry->n_live++;
	registry->n_prefixes += document_count_prefixes(grant->document);
	if (entry->revoked)
		registry->n_revoked--;
	entry->grant = grant;
	return 0;
}

struct grant *registry_grant_by_tag(const struct registry *registry, uint32_t tag)
{
	return tag < registry->n_slots ? registry->slots[tag].grant : NULL;
}

static void registry_forget(struct registry *registry, struct registry_entry *entry)
{
	tdelete(entry, &registry->tree, compare_entries);
	registry->n_entries--;
	if (entry->revoked && !entry->grant)
		registry->n_revoked--;
	entry_free(entry);
}

static void ended_pop(struct registry *registry)
{
	free(registry->ended[registry->first_ended]);
	registry->first_ended = (registry->first_ended + 1) % ENDED_ALLOCATED;
	registry->n_ended--;
}

static void ended_push(struct registry *registry, const char *id)
{
	if (!registry->ended)
		registry->ended = calloc(ENDED_ALLOCATED, sizeof(*registry->ended));
	if (!registry->ended || registry->n_ended == ENDED_ALLOCATED)
		return; /* it stays known until the next start */
	registry->ended[(registry->first_ended + registry->n_ended) % ENDED_ALLOCATED] = strdup(id);
	registry->n_ended++;
}

size_t document_count_prefixes(const struct document *document)
{
	size_t n = 0;

	for (size_t i = 0; i < document->n_ports; i++)
		n += document->ports[i].n_prefixes *
			(document->ports[i].protocols == PROTOCOL_ANY ? 2 : 1);
	return n;
}

static void free_slot(struct registry *registry, uint32_t tag)
{
	registry->n_prefixes -= document_count_prefixes(registry->slots[tag].grant->document);
	registry->slots[tag].grant = NULL;
	registry->slots[tag].next_free = registry->first_free;
	registry->first_free = tag;
	registry->n_live--;
}

void registry_drop(struct registry *registry, struct registry_entry *entry)
{
	if (entry->grant && registry_grant_by_tag(registry, entry->grant->tag) == entry->grant)
		free_slot(registry, entry->grant->tag);
	registry_forget(registry, entry);
}

void registry_grant_ended(struct registry *registry, struct grant *grant, int64_t latest_seconds)
{
	free_slot(registry, grant->tag);
	if (document_count_prefixes(grant->document) > ENDED_PREFIXES_MAX)
		document_forget_ports(grant->document);
	ended_push(registry, grant->document->id);
	while (registry->n_ended > REGISTRY_ENDED_MAX) {
		const char *id = registry->ended[registry->first_ended];
		struct registry_entry *entry = id ? registry_find(registry, id) : NULL;

		if (entry && entry->grant && entry->grant->document->expires > latest_seconds)
			return;
		ended_pop(registry);
		if (entry)
			registry_forget(registry, entry);
	}
}

struct walk {
	int (*callback)(struct registry_entry *entry, void *userdata);
	void *userdata;
	int status;
};

static void on_node(const void *node, VISIT visit, void *userdata)
{
	struct walk *walk = userdata;

	if ((visit != postorder && visit != leaf) || walk->status < 0)
		return;
	walk->status = walk->callback(*(struct registry_entry *const *)node, walk->userdata);
}

int registry_foreach(struct registry *registry,
	int (*callback)(struct registry_entry *entry, void *userdata), void *userdata)
{
	struct walk walk = { callback, userdata, 0 };

	twalk_r(registry->tree, on_node, &walk);
	return walk.status < 0 ? walk.status : 0;
}

size_t registry_count(const struct registry *registry)
{
	return registry->n_entries;
}

size_t registry_count_live(const struct registry *registry)
{
	return registry->n_live;
}

size_t registry_count_prefixes(const struct registry *registry)
{
	return registry->n_prefixes;
}

size_t registry_count_revoked(const struct registry *registry)
{
	return registry->n_revoked;
}

void registry_mark_revoked(struct registry *registry, struct registry_entry *entry)
{
	if (!entry->revoked && !entry->grant)
		registry->n_revoked++;
	entry->revoked = true;
}
