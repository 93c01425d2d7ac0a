/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Configuration files by tables: inifile gives lines, a table says what they mean.
 *
 * A program has a table of sections; each has a table of keys, each key a function that reads its
 * value and the field it fills. What is wrong comes out as "file:line: what is wrong": unknown
 * sections and keys, what is given twice, required keys that are missing, and what the functions
 * say through settings_fail(). The settings_read_* below read the kinds of values that files have
 * in common, each into a field of the type that it names; a table's owner adds others.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/common/prefix.h"
#include "cleanup.h"

#define SETTINGS_FILE_BYTES_MAX (256 * 1024)
#define SETTINGS_NAME_MAX 64 /* of a section [kind NAME] */
#define SETTINGS_KEYS_MAX 64 /* of a section */
#define SETTINGS_PREFIXES_MAX 64 /* of a list */

/* A file that is being read. */
struct settings;

struct settings_choice {
	const char *word;
	int value;
};

struct settings_key {
	const char *name;
	/* Fills the field. Returns 0; what settings_fail() returns; -ENOMEM. */
	int (*read)(struct settings *settings, const struct settings_key *key, const char *value,
		void *field);
	size_t offset; /* of the field, in what the section fills */
	bool required;
	/* Bounds, inclusive: of a number; of a duration in seconds; of a string in bytes. max 0:
	 * the kind's own. */
	int64_t min, max;
	const struct settings_choice *choices; /* ends with a NULL word */
};

struct settings_section {
	const char *name;
	const struct settings_key *keys; /* at most SETTINGS_KEYS_MAX */
	size_t n_keys;
	/*
	 * NULL: the section is [name], and fills the file's target. Otherwise it is [name NAME], up
	 * to n_max of them: makes what a section of that name fills, with its defaults, and returns
	 * it in ret. example is a NAME for messages.
	 */
	int (*begin)(struct settings *settings, const char *name, void *target, void **ret);
	size_t n_max;
	const char *example;
	/* Judges a section as a whole when it ends, through settings_fail_section(). May be NULL.
	 */
	int (*end)(struct settings *settings, void *filled);
};

struct settings_format {
	const struct settings_section *sections; /* a key before any section is told to go below the
						    first */
	size_t n_sections;
	/* Sets what was left out, and judges the whole, through settings_fail_file(). May be NULL.
	 */
	int (*end)(struct settings *settings, void *target);
};

/*
 * Reads a file of at most SETTINGS_FILE_BYTES_MAX into target. Returns 0; -errno (-EINVAL for what
 * is wrong in it, -ENOENT where there is none), with "file:line: what is wrong" in ret_error
 * (allocated, owned by the caller; NULL for want of memory), and target filled in part.
 */
int settings_load(
	const char *path, const struct settings_format *format, void *target, char **ret_error);

/* Its two steps: the file's text into ret_text (allocated, owned by the caller); what a text says,
 * which is cut up for it, path being for messages. Where lenient, sections that there are not and
 * lines that can't be read are passed over, and logged. */
int settings_read(const char *path, char **ret_text, char **ret_error);
int settings_parse(const char *path, char *text, bool lenient, const struct settings_format *format,
	void *target, char **ret_error);

/* Note what is wrong: with the line that is being read; with the section that ends, at its first
 * line; with the file. Return -EINVAL or -ENOMEM. */
_printf_(2, 3) int settings_fail(struct settings *settings, const char *format, ...);
_printf_(2, 3) int settings_fail_section(struct settings *settings, const char *format, ...);
_printf_(2, 3) int settings_fail_file(struct settings *settings, const char *format, ...);

/* Puts a copy of value in place of a string. Returns 0 or -ENOMEM. */
int settings_set_string(char **field, const char *value);
/* The same where there is none yet. */
int settings_set_default(char **field, const char *value);

/* char *: min (at least 1) to max (1024) bytes. */
int settings_read_string(
	struct settings *settings, const struct settings_key *key, const char *value, void *field);
/* char *: an absolute path of at most 1024 bytes; for a socket, of at most what its address takes.
 */
int settings_read_path(
	struct settings *settings, const struct settings_key *key, const char *value, void *field);
int settings_read_socket(
	struct settings *settings, const struct settings_key *key, const char *value, void *field);
/* An enum, or int: one of the choices. */
int settings_read_choice(
	struct settings *settings, const struct settings_key *key, const char *value, void *field);
/* uint64_t: digits, from min to max. */
int settings_read_number(
	struct settings *settings, const struct settings_key *key, const char *value, void *field);
/* uint64_t: bytes from min to max, digits and K, M or G (of 1024) or nothing. */
int settings_read_bytes(
	struct settings *settings, const struct settings_key *key, const char *value, void *field);
/* int64_t, seconds: ISO 8601, from min to max (P366D). */
int settings_read_duration(
	struct settings *settings, const struct settings_key *key, const char *value, void *field);

/* Reads up to SETTINGS_PREFIXES_MAX prefixes with spaces or commas between them; none is allowed.
 * Puts them in place of *prefixes, which is allocated. */
int settings_prefixes(struct settings *settings, const struct settings_key *key, const char *value,
	struct prefix **prefixes, size_t *n_prefixes);
