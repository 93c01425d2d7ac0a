/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "contrib/control-plane/state/change.h"

struct change {
	struct store *store;
	struct leases *leases;
	change_build *build;
	change_done *done;
	void *userdata;
	unsigned n_attempts;

	struct store_compare *compares;
	size_t n_compares, n_compares_allocated;
	struct store_operation *operations;
	int64_t *untils; /* of each operation */
	size_t n_operations, n_operations_allocated;
};

static void change_clear(struct change *change)
{
	for (size_t i = 0; i < change->n_compares; i++)
		free((char *)(uintptr_t)change->compares[i].key);
	for (size_t i = 0; i < change->n_operations; i++) {
		free((char *)(uintptr_t)change->operations[i].key);
		free((char *)(uintptr_t)change->operations[i].value);
	}
	change->n_compares = change->n_operations = 0;
}

static void change_end(struct change *change, int error, int64_t revision)
{
	change_done *done = change->done;
	void *userdata = change->userdata;

	change_clear(change);
	free(change->compares);
	free(change->operations);
	free(change->untils);
	free(change);
	done(error, revision, userdata);
}

static _printf_(1, 0) char *key_format(const char *format, va_list arguments)
{
	char *key;

	if (vasprintf(&key, format, arguments) < 0)
		return NULL;
	return key;
}

int change_compare(struct change *change, int64_t mod_revision, const char *format, ...)
{
	va_list arguments;
	char *key;

	if (change->n_compares == change->n_compares_allocated) {
		size_t n = change->n_compares_allocated ? 2 * change->n_compares_allocated : 8;
		struct store_compare *grown = reallocarray(change->compares, n, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		change->compares = grown;
		change->n_compares_allocated = n;
	}
	va_start(arguments, format);
	key = key_format(format, arguments);
	va_end(arguments);
	if (!key)
		return -ENOMEM;
	change->compares[change->n_compares++] = (struct store_compare){ key, mod_revision };
	return 0;
}

static int change_grow(struct change *change)
{
	size_t n = change->n_operations_allocated ? 2 * change->n_operations_allocated : 8;
	struct store_operation *operations;
	int64_t *untils;

	if (change->n_operations < change->n_operations_allocated)
		return 0;
	if (n > STORE_OPERATIONS_MAX)
		return -E2BIG;
	operations = reallocarray(change->operations, n, sizeof(*operations));
	if (!operations)
		return -ENOMEM;
	change->operations = operations;
	untils = reallocarray(change->untils, n, sizeof(*untils));
	if (!untils)
		return -ENOMEM;
	change->untils = untils;
	change->n_operations_allocated = n;
	return 0;
}

/* Takes key and value over, also on failure. */
static int change_add(struct change *change, char *key, char *value, int64_t until, bool deletes)
{
	size_t n_value = value ? strlen(value) : 0;
	int r = change_grow(change);

	if (!key || (!value && !deletes))
		r = -ENOMEM;
	else if (n_value > STORE_VALUE_BYTES_MAX || strlen(key) > STORE_KEY_BYTES_MAX)
		r = -E2BIG;
	if (r < 0) {
		free(key);
		free(value);
		return r;
	}
	change->untils[change->n_operations] = until;
	change->operations[change->n_operations++] = (struct store_operation){
		.type = deletes ? STORE_DELETE : STORE_PUT,
		.key = key,
		.value = value,
		.n_value = n_value,
	};
	return 0;
}

int change_put(struct change *change, json_t *value, int64_t until, const char *format, ...)
{
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	va_list arguments;
	char *key;

	json_decref(value);
	va_start(arguments, format);
	key = key_format(format, arguments);
	va_end(arguments);
	return change_add(change, key, text, until, false);
}

int change_put_text(
	struct change *change, const char *value, int64_t until, const char *format, ...)
{
	va_list arguments;
	char *key;

	va_start(arguments, format);
	key = key_format(format, arguments);
	va_end(arguments);
	return change_add(change, key, strdup(value), until, false);
}

int change_delete(struct change *change, const char *format, ...)
{
	va_list arguments;
	char *key;

	va_start(arguments, format);
	key = key_format(format, arguments);
	va_end(arguments);
	return change_add(change, key, NULL, 0, true);
}

static void change_attempt(struct change *change);

static void change_on_commit(int error, int64_t revision, void *userdata)
{
	struct change *change = userdata;

	if (error == -ENOENT)
		leases_forget(change->leases);
	if (error == STORE_CONFLICT || error == -ENOENT) {
		if (change->n_attempts < CHANGE_ATTEMPTS_MAX)
			return change_attempt(change);
		error = -EBUSY;
	}
	change_end(change, error, revision);
}

static void change_commit(struct change *change);

static void change_on_lease(int error, void *userdata)
{
	struct change *change = userdata;

	if (error < 0)
		return change_end(change, error, 0);
	change_commit(change);
}

static void change_commit(struct change *change)
{
	int r;

	for (size_t i = 0; i < change->n_operations; i++) {
		struct store_operation *operation = &change->operations[i];

		if (change->untils[i] == 0)
			continue;
		operation->lease = leases_find(change->leases, change->untils[i]);
		if (operation->lease > 0)
			continue;
		r = leases_obtain(change->leases, change->untils[i], change_on_lease, change);
		if (r < 0)
			change_end(change, r, 0);
		return;
	}
	r = store_commit(change->store,
		&(struct store_transaction){
			.compares = change->compares,
			.n_compares = change->n_compares,
			.operations = change->operations,
			.n_operations = change->n_operations,
		},
		change_on_commit, change);
	if (r < 0)
		change_end(change, r, 0);
}

static void change_attempt(struct change *change)
{
	int r;

	change_clear(change);
	change->n_attempts++;
	r = change->build(change, change->userdata);
	if (r != 0)
		return change_end(change, r, 0);
	change_commit(change);
}

void change_begin(struct store *store, struct leases *leases, change_build *build,
	change_done *done, void *userdata)
{
	struct change *change = calloc(1, sizeof(*change));

	if (!change)
		return done(-ENOMEM, 0, userdata);
	*change = (struct change){
		.store = store,
		.leases = leases,
		.build = build,
		.done = done,
		.userdata = userdata,
	};
	change_attempt(change);
}
