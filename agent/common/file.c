/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
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
