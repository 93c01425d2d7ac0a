/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The distance of Damerau and Levenshtein, where nothing is moved twice. */

#include <sys/param.h>

#include "agent/cli/slip.h"

#define WORD_BYTES_MAX 32
#define LONG_WORD_BYTES 6

unsigned slip_count(const char *typed, size_t n_typed, const char *meant, size_t n_meant)
{
	/* [i][j]: of the first i bytes of typed and the first j of meant. */
	unsigned slips[WORD_BYTES_MAX + 1][WORD_BYTES_MAX + 1];
	const unsigned n_max = n_meant >= LONG_WORD_BYTES ? 2 : 1;

	if (n_typed > WORD_BYTES_MAX || n_meant > WORD_BYTES_MAX)
		return SLIPS_TOO_MANY;
	for (unsigned i = 0; i <= n_typed; i++) {
		for (unsigned j = 0; j <= n_meant; j++) {
			unsigned *here = &slips[i][j];

			if (i == 0 || j == 0) {
				*here = i + j;
				continue;
			}
			*here = slips[i - 1][j - 1] + (typed[i - 1] != meant[j - 1]);
			*here = MIN(*here, MIN(slips[i - 1][j], slips[i][j - 1]) + 1);
			if (i > 1 && j > 1 && typed[i - 1] == meant[j - 2] &&
				typed[i - 2] == meant[j - 1])
				*here = MIN(*here, slips[i - 2][j - 2] + 1);
		}
	}
	return slips[n_typed][n_meant] <= n_max ? slips[n_typed][n_meant] : SLIPS_TOO_MANY;
}
