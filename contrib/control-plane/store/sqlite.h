/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A store in a SQLite file. */

#include "contrib/control-plane/store/store.h"

/* As store_open(). */
int sqlite_open(sd_event *event, const char *path, struct store **ret, char **ret_error);
