/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "agent/common/file.h"
#include "agent/common/text.h"
#include "agent/common/times.h"
#include "agent/daemon/trial.h"
#include "cleanup.h"

#define TRIAL_BYTES_MAX 1024

static char *trial_path(const char *directory)
{
	char *path;

	return asprintf(&path, "%s/trial", directory) < 0 ? NULL : path;
}

int trial_save(const char *directory, const char *boot_id, const struct trial *trial)
{
	_cleanup_(freep) char *path = trial_path(directory), *text = NULL;
	json_auto_t *json = json_pack("{s:s, s:I, s:I, s:s}", "boot", boot_id, "deadline",
		(json_int_t)trial->deadline_usec, "seconds", (json_int_t)trial->seconds, "by",
		trial->by);

	text = json_dumps(json, JSON_COMPACT);
	if (!path || !text)
		return -ENOMEM;
	return file_write(path, 0600, text, strlen(text));
}

static int trial_parse(
	const char *text, size_t n_bytes, const char *boot_id, uint64_t now_usec, struct trial *ret)
{
	json_auto_t *json = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, NULL);
	json_int_t deadline, seconds;
	const char *boot, *by;

	if (json_unpack(json, "{s:s, s:I, s:I, s:s}", "boot", &boot, "deadline", &deadline,
		    "seconds", &seconds, "by", &by) < 0)
		return -EBADMSG;
	if (strcmp(boot, boot_id) != 0)
		return -ENOENT;
	if (seconds < TRIAL_SECONDS_MIN || seconds > TRIAL_SECONDS_MAX || deadline <= 0 ||
		(uint64_t)deadline > now_usec + (uint64_t)seconds * USEC_PER_SEC ||
		strlen(by) >= TRIAL_NAME_MAX || !text_is_printable(by))
		return -EBADMSG;
	*ret = (struct trial){ .deadline_usec = (uint64_t)deadline, .seconds = seconds };
	strcpy(ret->by, by);
	return 0;
}

int trial_load(const char *directory, const char *boot_id, uint64_t now_usec, struct trial *ret)
{
	_cleanup_(freep) char *path = trial_path(directory), *text = NULL;
	size_t n_bytes;
	int status;

	if (!path)
		return -ENOMEM;
	status = file_read(path, TRIAL_BYTES_MAX, &text, &n_bytes);
	return status < 0 ? status : trial_parse(text, n_bytes, boot_id, now_usec, ret);
}

int trial_forget(const char *directory)
{
	_cleanup_(freep) char *path = trial_path(directory);

	if (!path)
		return -ENOMEM;
	return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
}
