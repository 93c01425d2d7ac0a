/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The keys of the control plane: a JWK, or a JWK Set whose first private key signs. What is
 * published are the public halves of all that the file holds: to rotate, put the new key behind the
 * old one, have agents trust both, put it in front, and take the old one out when the grants that
 * it signed have ended. Policies outlive that: they are signed anew (renewal.h).
 */

#include <jansson.h>

#include "agent/common/document.h"
#include "cleanup.h"

struct signature; /* how the key signs: signature.h */

struct signer {
	json_t *key; /* private; signs */
	struct signature *signature;
	json_t *published; /* a JWK Set of public keys */
	struct trust *trust; /* the same, as agents read it */
};

/* Returns 0 and the keys, owned by the caller; -errno, with a sentence in ret_error (allocated,
 * owned by the caller; NULL for want of memory). An agent would trust what is published. */
int signer_load(const char *path, struct signer **ret, char **ret_error);

/* The same from text in memory, path being only for messages. */
int signer_parse(
	const char *text, size_t n_bytes, const char *path, struct signer **ret, char **ret_error);

struct signer *signer_free(struct signer *signer);
DEFINE_CLEANUP(struct signer *, signer_free)

/* Signs claims, which are consumed (NULL gives -ENOMEM). Returns 0 and the document (allocated,
 * owned by the caller); -E2BIG where no agent would take one so long; -EINVAL; -ENOMEM. */
int signer_sign(const struct signer *signer, enum document_kind kind, json_t *claims, char **ret);
