/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "contrib/control-plane/state/turn.h"

int turn_at(sd_event_source *timer, uint64_t usec)
{
	uint64_t former_usec;
	int enabled;
	int r = sd_event_source_get_enabled(timer, &enabled);

	if (r >= 0)
		r = sd_event_source_get_time(timer, &former_usec);
	if (r < 0)
		return r;
	if (enabled != SD_EVENT_OFF && former_usec <= usec)
		return 0;
	r = sd_event_source_set_time(timer, usec);
	return r < 0 ? r : sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}
