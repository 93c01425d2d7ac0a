/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What the commands make of a control plane's answers: a byte for the command, one for how it is
 * called, then answers, a line each (plane.h). */

#include <time.h>

#include "agent/common/times.h"
#include "tests/fuzz/plane.h"

#define SERVER "--server", "http://localhost:1"

static const struct call calls[] = {
	{ &command_requests, { SERVER } },
	{ &command_request, { SERVER, "web-1", "--port", "22/tcp", "--reason", "r" } },
	{ &command_approve, { SERVER, "some-id" } },
	{ &command_deny, { SERVER, "some-id", "--reason", "r" } },
	{ &command_requests_revoke, { SERVER, "some-id", "--reason", "r" } },
	{ &command_activity, { SERVER } },
};

/* Who waits for an answer passes the time, and nothing else does. */
static uint64_t now_usec;

uint64_t clock_monotonic_usec(void)
{
	return now_usec;
}

int nanosleep(const struct timespec *time, struct timespec *ret_left)
{
	(void)ret_left;
	now_usec += (uint64_t)time->tv_sec * USEC_PER_SEC;
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	setenv("HOME", "/nowhere", true);
	unsetenv("XDG_CONFIG_HOME");
	setenv("JITGATE_TOKEN", "t", true);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)call_with_lines(calls, N_ELEMENTS(calls), data, size);
	return 0;
}
