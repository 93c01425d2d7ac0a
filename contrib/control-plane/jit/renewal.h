/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Policy documents whose key is published no more are signed anew. */

#include "contrib/control-plane/jit/jit.h"

struct renewal;

/* Looks through the policy documents of all VMs, in the background; once more where that is under
 * way already. For after a start and a change of keys. What fails is logged. */
void renewal_begin(struct jit *jit);

/* With the jit: no handler of the store is called any more. */
struct renewal *renewal_free(struct renewal *renewal);
