/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Changes to a configuration file that somebody wrote (the syntax of agent/common/inifile.h): the
 * line that has to be another is, and all others, comments among them, stay as they are.
 *
 * They change *text, allocated, and return 0 or -ENOMEM. The file is one that can be read, and what
 * is put into it fits on a line: whoever calls has checked it, and reads the outcome once more.
 */

/*
 * Sets a key of [section]: where it stands, its value is replaced and a comment behind it kept;
 * where it stands as a comment ("#key = "), it is put below that; otherwise below the section's
 * last key, in a new section at the end where there is none.
 */
int conf_set(char **text, const char *section, const char *key, const char *value);

/* Makes a comment of a key of [section], where it stands. */
int conf_unset(char **text, const char *section, const char *key);

/* The value of a key of [section] into ret (allocated), NULL where it is not there. */
int conf_get(const char *text, const char *section, const char *key, char **ret);
