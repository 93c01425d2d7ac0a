/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/common/file.h"
#include "cleanup.h"

int file_read(const char *path, size_t n_bytes_max, char **ret, size_t *ret_bytes)
{
	_cleanup_(closep) int fd = -1;
	_cleanup_(freep) char *bytes = NULL;
	struct stat status;
	size_t n = 0;

	/* O_NONBLOCK: opening a FIFO must not wait for its writer. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0)
		return -errno;
	if (S_ISDIR(status.st_mode))
		return -EISDIR;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	if (status.st_size < 0 || (size_t)status.st_size > n_bytes_max)
		return -EFBIG;

	/* One byte more than allowed, so that a file that grows meanwhile is seen to. */
	bytes = malloc(n_bytes_max + 2);
	if (!bytes)
		return -ENOMEM;
	while (n <= n_bytes_max) {
		ssize_t n_read = read(fd, bytes + n, n_bytes_max + 1 - n);

		if (n_read < 0 && errno == EINTR)
			continue;
		if (n_read < 0)
			return -errno;
		if (n_read == 0)
			break;
		n += (size_t)n_read;
	}
	if (n > n_bytes_max)
		return -EFBIG;
	bytes[n] = '\0';
	*ret = TAKE_PTR(bytes);
	*ret_bytes = n;
	return 0;
}

/* A rename is on disk when its directory is. */
static int directory_sync(const char *path)
{
	_cleanup_(freep) char *copy = strdup(path);
	_cleanup_(closep) int fd = -1;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

static int write_synced(int fd, const char *bytes, size_t n_bytes)
{
	while (n_bytes > 0) {
		ssize_t n = write(fd, bytes, n_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		n_bytes -= (size_t)n;
	}
	return fdatasync(fd) < 0 ? -errno : 0;
}

int file_write(const char *path, mode_t mode, const char *bytes, size_t n_bytes)
{
	_cleanup_(freep) char *new_path = NULL;
	_cleanup_(closep) int fd = -1;
	int r;

	if (asprintf(&new_path, "%s.new", path) < 0) {
		new_path = NULL;
		return -ENOMEM;
	}
	/* One that was left half written may have another mode. */
	if (unlink(new_path) < 0 && errno != ENOENT)
		return -errno;
	fd = open(new_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	r = write_synced(fd, bytes, n_bytes);
	if (r == 0 && rename(new_path, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(new_path);
		return r;
	}
	return directory_sync(path);
}
