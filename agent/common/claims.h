/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What a document claims, once its signature holds. document_from_claims() is in document.h. */

#include <jansson.h>

#include "agent/common/refusal.h"

/* Fills in wrong_audience, with whom the claims are for. Returns REFUSED. */
int claims_refuse_audience(const json_t *claims, const char *vm_id, struct refusal *refusal);
