/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include "agent/common/closing.h"

/* So little that many in a row hold up nobody: of whoever is turned away, no share is kept. */
#define WAIT_USEC 100

static void on_alarm(int number)
{
	(void)number;
}

int closing_prepare(void)
{
	const struct sigaction action = { .sa_handler = on_alarm };
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGALRM);
	if (sigaction(SIGALRM, &action, NULL) < 0 || sigprocmask(SIG_UNBLOCK, &signals, NULL) < 0)
		return -errno;
	return 0;
}

void close_at_once(int fd)
{
	/* Again and again: the first may come before the wait. */
	const struct itimerval soon = { { .tv_usec = WAIT_USEC }, { .tv_usec = WAIT_USEC } };
	const struct itimerval never = {};

	(void)setitimer(ITIMER_REAL, &soon, NULL);
	(void)close(fd);
	(void)setitimer(ITIMER_REAL, &never, NULL);
}
