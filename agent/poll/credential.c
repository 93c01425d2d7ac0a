/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/common/bearer.h"
#include "agent/common/file.h"
#include "agent/poll/credential.h"

/*
 * The configured path, or that of a systemd credential (https://systemd.io/CREDENTIALS), which
 * counts where it has more than one byte: the unit sets a newline where there is no file.
 * Returns 0 and the path, NULL where there is none; -ENOMEM.
 */
static int credential_path(const char *configured, const char *name, char **ret)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	_cleanup_(freep) char *path = NULL;
	struct stat status;

	*ret = NULL;
	if (configured) {
		*ret = strdup(configured);
		return *ret ? 0 : -ENOMEM;
	}
	if (!directory)
		return 0;
	if (asprintf(&path, "%s/%s", directory, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	/* One that is there but can't be read is an error when it is used. */
	if (stat(path, &status) == 0 && status.st_size > 1)
		*ret = TAKE_PTR(path);
	return 0;
}

int credential_header(
	const struct config_feed *feed, char **ret, char error[static CREDENTIAL_ERROR_MAX])
{
	_cleanup_(freep) char *path = NULL;
	_cleanup_(freep) char *token = NULL;
	size_t n_bytes;
	int r;

	*ret = NULL;
	error[0] = '\0';
	r = credential_path(feed->token, "feed-token", &path);
	if (r < 0 || !path)
		return r;
	r = file_read(path, BEARER_FILE_BYTES_MAX, &token, &n_bytes);
	if (r < 0) {
		snprintf(error, CREDENTIAL_ERROR_MAX, "can't read the token in %.160s: %s", path,
			strerror(-r));
		return r;
	}
	/* What else stood there would be a header of its own. */
	if (!bearer_trim(token, n_bytes)) {
		snprintf(error, CREDENTIAL_ERROR_MAX, "what is in %.160s is no bearer token", path);
		return -EBADMSG;
	}
	if (asprintf(ret, "Authorization: Bearer %s", token) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

int credential_certificate(const struct config_feed *feed, char **ret_certificate, char **ret_key)
{
	_cleanup_(freep) char *certificate = NULL;
	_cleanup_(freep) char *key = NULL;
	int r;

	*ret_certificate = *ret_key = NULL;
	r = credential_path(feed->certificate, "feed-certificate", &certificate);
	if (r == 0)
		r = credential_path(feed->key, "feed-key", &key);
	if (r < 0 || !certificate || !key)
		return r;
	*ret_certificate = TAKE_PTR(certificate);
	*ret_key = TAKE_PTR(key);
	return 0;
}
