/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#include "agent/common/times.h"
#include "agent/daemon/clock.h"
#include "cleanup.h"

struct moment moment_now(void)
{
	return (struct moment){ clock_realtime_usec(), clock_boottime_usec() };
}

uint64_t moment_deadline(const struct moment *now, int64_t wall_seconds)
{
	uint64_t wall_usec = wall_seconds > 0 ? (uint64_t)wall_seconds * USEC_PER_SEC : 0;

	if (wall_usec <= now->wall_usec)
		return now->boot_usec;
	return now->boot_usec + (wall_usec - now->wall_usec);
}

uint64_t moment_again(uint64_t since_usec, uint64_t min_usec, uint64_t max_usec)
{
	uint64_t usec = clock_boottime_usec() - since_usec;

	return usec < min_usec ? min_usec : usec > max_usec ? max_usec : usec;
}

/* A time that never comes: only being cancelled makes the descriptor readable. */
static int clock_watch_arm(int fd)
{
	const struct itimerspec never = { .it_value = { .tv_sec = INT64_C(1) << 33 } };

	if (timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0)
		return -errno;
	return 0;
}

int clock_watch(
	sd_event *event, sd_event_io_handler_t callback, void *userdata, sd_event_source **ret)
{
	_cleanup_(closep) int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	int status;

	if (fd < 0)
		return -errno;
	status = clock_watch_arm(fd);
	if (status == 0)
		status = sd_event_add_io(event, ret, fd, EPOLLIN, callback, userdata);
	if (status < 0)
		return status;
	status = sd_event_source_set_io_fd_own(*ret, true);
	if (status < 0)
		return status;
	(void)TAKE_FD(fd);
	return 0;
}

bool clock_watch_read(int fd)
{
	uint64_t n;
	bool quiet = read(fd, &n, sizeof(n)) < 0 && errno == EAGAIN;

	/* Not only ECANCELED: arming it anew forgets what reading it could not tell. */
	(void)clock_watch_arm(fd);
	return !quiet;
}
