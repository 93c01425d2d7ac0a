/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/confine.h"
#include "agent/common/file.h"
#include "agent/common/last_good.h"
#include "agent/common/log.h"
#include "agent/common/settings.h"

#define HEADING "; mode = %s in %s\n"
#define BYTES_MAX (SETTINGS_FILE_BYTES_MAX + PATH_MAX + 32)

/* NULL where there is no place, or no memory. */
static char *find_directory(const char *path, const char *default_directory)
{
	const char *directories = getenv("STATE_DIRECTORY");

	if (*path != '/')
		return NULL;
	if (directories && *directories)
		return strndup(directories, strcspn(directories, ":"));
	return default_directory && strcmp(path, CONFIG_PATH) == 0 ? strdup(default_directory)
								   : NULL;
}

/* Returns how long it is; -ENOMEM. */
_printf_(2, 3) static int format_text(char **ret, const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vasprintf(ret, format, arguments);
	va_end(arguments);
	if (n >= 0)
		return n;
	*ret = NULL;
	return -ENOMEM;
}

static bool is_kept(const char *kept_path, const char *text, size_t n_bytes)
{
	_cleanup_(freep) char *kept = NULL;
	size_t n;

	return file_read(kept_path, BYTES_MAX, &kept, &n) == 0 && n == n_bytes &&
		memcmp(kept, text, n) == 0;
}

static int keep_in(const char *directory, const char *path, const struct config *config)
{
	_cleanup_(freep) char *kept_path = NULL;
	_cleanup_(freep) char *text = NULL;
	int n = format_text(&kept_path, "%s/agent.conf", directory);

	if (n >= 0)
		n = format_text(
			&text, HEADING "%s", config_mode_name(config->mode), path, config->text);
	if (n < 0)
		return n;
	return is_kept(kept_path, text, (size_t)n) ? 0
						   : file_write(kept_path, 0600, text, (size_t)n);
}

void last_good_keep(const char *path, const char *default_directory, const struct config *config)
{
	_cleanup_(freep) char *directory = find_directory(path, default_directory);
	int status = directory ? keep_in(directory, path, config) : 0;

	if (status < 0)
		log_line(LOG_WARNING, "can't keep a copy of %s for a start at which it is bad: %s",
			path, strerror(-status));
}

/* What is below the heading that a file of path has, and the mode from it; NULL: of none. */
static const char *skip_heading(const char *text, const char *path, enum gate_mode *ret_mode)
{
	static const enum gate_mode modes[] = { MODE_ENFORCE, MODE_AUDIT };

	for (size_t i = 0; i < N_ELEMENTS(modes); i++) {
		char heading[PATH_MAX + 32];
		int n = snprintf(
			heading, sizeof(heading), HEADING, config_mode_name(modes[i]), path);

		if ((size_t)n < sizeof(heading) && strncmp(text, heading, (size_t)n) == 0) {
			*ret_mode = modes[i];
			return text + n;
		}
	}
	return NULL;
}

bool last_good_counts(int status)
{
	return status != -ENOENT && status != -ENOTDIR && status != -ENOMEM;
}

int last_good_load(
	const char *path, const char *default_directory, uint64_t kept, struct config **ret)
{
	_cleanup_(freep) char *directory = find_directory(path, default_directory);
	_cleanup_(freep) char *kept_path = NULL;
	_cleanup_(freep) char *text = NULL;
	_cleanup_(freep) char *error = NULL;
	enum gate_mode mode;
	const char *config;
	size_t n_bytes;
	int r;

	if (!directory)
		return -ENOENT;
	r = format_text(&kept_path, "%s/agent.conf", directory);
	if (r < 0)
		return r;
	r = confine_to_owner(directory, kept);
	if (r == 0)
		r = file_read(kept_path, BYTES_MAX, &text, &n_bytes);
	if (r < 0)
		return r;
	config = strlen(text) == n_bytes ? skip_heading(text, path, &mode) : NULL;
	if (!config)
		return -EINVAL;
	/* It may be another version's: a gate by what this one knows of it is better than none. */
	r = config_parse(kept_path, config, true, ret, &error);
	if (r == 0)
		(*ret)->mode = mode;
	return r;
}
