/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <string.h>

#include "contrib/control-plane/store/job.h"

/* Copies into memory that has been measured to fit. */
static const char *copy(char **end, const char *bytes, size_t n_bytes)
{
	char *copied = *end;

	if (n_bytes > 0)
		memcpy(copied, bytes, n_bytes);
	*end += n_bytes;

	return copied;
}

static const char *copy_string(char **end, const char *string)
{
	return copy(end, string, strlen(string) + 1);
}

static size_t transaction_bytes(const struct store_transaction *transaction)
{
	size_t n_bytes = transaction->n_compares * sizeof(*transaction->compares) +
		transaction->n_operations * sizeof(*transaction->operations);

	for (size_t i = 0; i < transaction->n_compares; i++)
		n_bytes += strlen(transaction->compares[i].key) + 1;
	for (size_t i = 0; i < transaction->n_operations; i++) {
		n_bytes += strlen(transaction->operations[i].key) + 1;
		if (transaction->operations[i].type == STORE_PUT)
			n_bytes += transaction->operations[i].n_value;
	}

	return n_bytes;
}

struct job *job_new_commit(const struct store_transaction *transaction)
{
	const size_t n_bytes = sizeof(struct job) + transaction_bytes(transaction);
	struct job *job = malloc(n_bytes);
	struct store_compare *compares;
	struct store_operation *operations;
	char *end;

	if (!job)
		return NULL;
	/* Arrays first: they are aligned where the job is. */
	compares = (struct store_compare *)(job + 1);
	operations = (struct store_operation *)(compares + transaction->n_compares);
	end = (char *)(operations + transaction->n_operations);
	for (size_t i = 0; i < transaction->n_compares; i++) {
		compares[i] = transaction->compares[i];
		compares[i].key = copy_string(&end, compares[i].key);
	}
	for (size_t i = 0; i < transaction->n_operations; i++) {
		struct store_operation *operation = &operations[i];

		*operation = transaction->operations[i];
		operation->key = copy_string(&end, operation->key);
		if (operation->type == STORE_PUT)
			operation->value = copy(&end, operation->value, operation->n_value);
	}
	*job = (struct job){
		.type = JOB_COMMIT,
		.n_bytes = n_bytes,
		.transaction = {
			.compares = compares,
			.n_compares = transaction->n_compares,
			.operations = operations,
			.n_operations = transaction->n_operations,
		},
	};

	return job;
}

struct job *job_new_range(const struct store_range *range)
{
	const size_t n_bytes = sizeof(struct job) + strlen(range->from) + 1 +
		(range->to ? strlen(range->to) + 1 : 0);
	struct job *job = malloc(n_bytes);
	char *end;

	if (!job)
		return NULL;
	*job = (struct job){ .type = JOB_RANGE, .n_bytes = n_bytes, .range = *range };
	end = (char *)(job + 1);
	job->range.from = copy_string(&end, range->from);
	if (range->to)
		job->range.to = copy_string(&end, range->to);

	return job;
}
