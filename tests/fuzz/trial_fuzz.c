/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The file that says that the gate enforces on trial. */

#include "agent/daemon/trial.h"
#include "tests/fuzz/fuzz.h"

#define NOW_USEC UINT64_C(1000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *directory = scratch_directory();
	struct trial trial, again;

	free(scratch_file("trial", data, size));
	if (trial_load(directory, "boot", NOW_USEC, &trial) < 0)
		return 0;
	/* It ends, within the time that it was given. */
	CHECK(trial.deadline_usec <= NOW_USEC + (uint64_t)trial.seconds * 1000000);
	CHECK(text_is_printable(trial.by));
	CHECK(trial_save(directory, "boot", &trial) == 0);
	CHECK(trial_load(directory, "boot", NOW_USEC, &again) == 0);
	CHECK(trial.deadline_usec == again.deadline_usec && trial.seconds == again.seconds);
	check_same_text(trial.by, again.by);
	return 0;
}
