/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Checks the configuration at path and the files that it names, and says what is wrong; to root
 * also which of them the service's user can't read. Returns the exit status. */
int check_config(const char *path);
