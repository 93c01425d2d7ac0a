/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The INI syntax of configuration files, line by line.
 *
 *   # a comment, or ; a comment
 *   [section name]
 *   key = value          ; white space and a semicolon end the value
 *
 * Not inih: as distributions build it, it cuts lines at 200 bytes (a cloud's id of a VM may be
 * longer, and the rest of a long comment would count as a setting), cuts names at 50 silently, and
 * tells neither where a section begins nor that one is empty.
 */

#include <stddef.h>

#define INIFILE_LINE_BYTES_MAX 8192

struct inifile {
	char *rest;
	unsigned line; /* of what inifile_next() returned last, from 1 */
};

/* What inifile_next() found. */
enum {
	INIFILE_END = 0,
	INIFILE_SECTION = 1,
	INIFILE_ENTRY = 2,
};

/*
 * Finds the next section or entry in text that file->rest points to; the text is cut up in place
 * and must outlive what is returned. Returns INIFILE_SECTION and its name; INIFILE_ENTRY, its name
 * and its value, which may be empty; INIFILE_END; -EINVAL, with what is wrong with the line in
 * ret_reason.
 */
int inifile_next(struct inifile *file, char **ret_name, char **ret_value, const char **ret_reason);
