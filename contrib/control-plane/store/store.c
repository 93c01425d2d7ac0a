/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "contrib/control-plane/store/backend.h"
#include "contrib/control-plane/store/sqlite.h"

int store_open(sd_event *event, const char *location, struct store **ret, char **ret_error)
{
	if (strncmp(location, "etcd://", strlen("etcd://")) != 0)
		return sqlite_open(event, location, ret, ret_error);

	if (asprintf(ret_error, "%s: etcd is not supported yet; name a file", location) < 0)
		*ret_error = NULL;
	return -EPROTONOSUPPORT;
}

struct store *store_free(struct store *store)
{
	if (store)
		store->backend->free(store);

	return NULL;
}

const char *store_identity(const struct store *store)
{
	return store->backend->identity(store);
}

int64_t store_revision(const struct store *store)
{
	return store->backend->revision(store);
}

static bool key_is_valid(const char *key)
{
	size_t n_bytes = strnlen(key, STORE_KEY_BYTES_MAX + 1);

	return n_bytes > 0 && n_bytes <= STORE_KEY_BYTES_MAX;
}

int store_range(struct store *store, const struct store_range *range, store_on_range *handler,
	void *userdata)
{
	/* The empty string is below all keys. An end may be a byte longer than a key. */
	if (strnlen(range->from, STORE_KEY_BYTES_MAX + 2) > STORE_KEY_BYTES_MAX + 1 ||
		(range->to &&
			strnlen(range->to, STORE_KEY_BYTES_MAX + 2) > STORE_KEY_BYTES_MAX + 1))
		return -EINVAL;

	return store->backend->range(store, range, handler, userdata);
}

char *store_prefix_end(const char *prefix)
{
	size_t n_bytes = strlen(prefix);
	char *end;

	/* The last byte that has a next one gets it; what stands behind it is cut off. */
	while (n_bytes > 0 && (unsigned char)prefix[n_bytes - 1] == 0xff)
		n_bytes--;
	if (n_bytes == 0) {
		/* No key is above as many of the highest byte as a key may have, and one more. */
		end = malloc(STORE_KEY_BYTES_MAX + 2);
		if (end) {
			memset(end, 0xff, STORE_KEY_BYTES_MAX + 1);
			end[STORE_KEY_BYTES_MAX + 1] = '\0';
		}
		return end;
	}

	end = strndup(prefix, n_bytes);
	if (end)
		end[n_bytes - 1]++;
	return end;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* 0; -EINVAL where a key is named twice; -ENOMEM. */
static int operations_check_distinct(const struct store_operation *operations, size_t n_operations)
{
	_cleanup_(freep) const char **keys = NULL;

	if (n_operations < 2)
		return 0;
	keys = calloc(n_operations, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < n_operations; i++)
		keys[i] = operations[i].key;
	qsort(keys, n_operations, sizeof(*keys), compare_keys);
	for (size_t i = 1; i < n_operations; i++)
		if (strcmp(keys[i - 1], keys[i]) == 0)
			return -EINVAL;

	return 0;
}

static int transaction_check(const struct store_transaction *transaction)
{
	size_t n_bytes = 0;

	if (transaction->n_operations > STORE_OPERATIONS_MAX ||
		transaction->n_compares > STORE_OPERATIONS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < transaction->n_compares; i++)
		if (!key_is_valid(transaction->compares[i].key))
			return -EINVAL;
	for (size_t i = 0; i < transaction->n_operations; i++) {
		const struct store_operation *operation = &transaction->operations[i];

		if (!key_is_valid(operation->key))
			return -EINVAL;
		if (operation->type == STORE_DELETE)
			continue;
		if (operation->n_value > STORE_VALUE_BYTES_MAX)
			return -E2BIG;
		if (operation->lease < 0 || (operation->n_value > 0 && !operation->value))
			return -EINVAL;
		n_bytes += operation->n_value;
	}
	if (n_bytes > STORE_TRANSACTION_BYTES_MAX)
		return -E2BIG;

	return operations_check_distinct(transaction->operations, transaction->n_operations);
}

int store_commit(struct store *store, const struct store_transaction *transaction,
	store_on_commit *handler, void *userdata)
{
	int r = transaction_check(transaction);

	return r < 0 ? r : store->backend->commit(store, transaction, handler, userdata);
}

int store_lease_grant(
	struct store *store, int64_t ttl_seconds, store_on_lease *handler, void *userdata)
{
	if (ttl_seconds < 1 || ttl_seconds > STORE_TTL_SECONDS_MAX)
		return -EINVAL;

	return store->backend->lease_grant(store, ttl_seconds, handler, userdata);
}

int store_lease_keep_alive(
	struct store *store, int64_t lease, store_on_lease *handler, void *userdata)
{
	if (lease <= 0)
		return -EINVAL;

	return store->backend->lease_keep_alive(store, lease, handler, userdata);
}

int store_lease_revoke(struct store *store, int64_t lease, store_on_lease *handler, void *userdata)
{
	if (lease <= 0)
		return -EINVAL;

	return store->backend->lease_revoke(store, lease, handler, userdata);
}

int store_watch(struct store *store, const char *prefix, int64_t from_revision,
	store_on_events *handler, void *userdata, struct store_watch **ret)
{
	if (strnlen(prefix, STORE_KEY_BYTES_MAX + 1) > STORE_KEY_BYTES_MAX || from_revision < 0)
		return -EINVAL;

	return store->backend->watch(store, prefix, from_revision, handler, userdata, ret);
}

struct store_watch *store_watch_free(struct store_watch *watch)
{
	if (watch)
		watch->store->backend->watch_free(watch);

	return NULL;
}
