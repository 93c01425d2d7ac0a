/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "agent/common/notify.h"

#define NOTIFICATION_MAX 1536
#define READY_SECONDS 5

/* A path, or a name behind '@' in the abstract namespace. Returns its length; 0: there is none. */
static socklen_t manager_address(struct sockaddr_un *ret)
{
	const char *name = getenv("NOTIFY_SOCKET");
	size_t n = name ? strlen(name) : 0;

	if (n < 2 || (name[0] != '/' && name[0] != '@') || n >= sizeof(ret->sun_path))
		return 0;
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(ret->sun_path, name, n);
	if (name[0] == '@')
		ret->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

static void send_text(const char *text, int flags)
{
	const struct timeval bound = { .tv_sec = READY_SECONDS };
	struct sockaddr_un manager;
	socklen_t length = manager_address(&manager);
	int fd = length > 0 ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

	if (fd < 0)
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound));
	/* The kernel says who sends it. */
	(void)sendto(fd, text, strlen(text), flags | MSG_NOSIGNAL,
		(const struct sockaddr *)&manager, length);
	close(fd);
}

void notify(const char *format, ...)
{
	char text[NOTIFICATION_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	send_text(text, MSG_DONTWAIT);
}

void notify_ready(void)
{
	send_text("READY=1", 0);
}

static int on_watchdog(sd_event_source *source, uint64_t usec, void *userdata)
{
	uint64_t interval_usec;
	int r = sd_watchdog_enabled(0, &interval_usec);

	(void)usec, (void)userdata;
	if (r <= 0)
		return r;
	notify("WATCHDOG=1");
	r = sd_event_source_set_time_relative(source, interval_usec / 2);
	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int notify_watchdog(sd_event *event)
{
	sd_event_source *source = NULL;
	uint64_t interval_usec;
	int r = sd_watchdog_enabled(0, &interval_usec);

	if (r <= 0)
		return r;
	r = sd_event_add_time_relative(
		event, &source, CLOCK_MONOTONIC, 0, interval_usec / 8, on_watchdog, NULL);
	if (r >= 0)
		r = sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0)
		r = sd_event_source_set_floating(source, true);
	sd_event_source_unref(source);
	return r < 0 ? r : 0;
}
