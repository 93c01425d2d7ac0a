/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "agent/cli/staged.h"
#include "agent/common/memory.h"

#define ACCESS_LIST_BYTES_MAX 4096

/* What ends a program whose user gives up waiting, or whose terminal goes. */
static const int endings[] = { SIGHUP, SIGINT, SIGTERM };

static struct staged *unfinished;

static void give_up(void)
{
	staged_done(unfinished);
}

static void on_end(int number)
{
	for (size_t i = 0; unfinished && i < unfinished->n_files; i++)
		if (unfinished->files[i].temporary && !unfinished->files[i].placed)
			(void)unlink(unfinished->files[i].temporary);
	/* SA_RESETHAND: who started us sees what ended us. */
	raise(number);
}

static void catch_endings(void)
{
	const struct sigaction action = { .sa_handler = on_end, .sa_flags = SA_RESETHAND };
	struct sigaction former;

	for (size_t i = 0; i < N_ELEMENTS(endings); i++)
		/* nohup(1) has it ignored. */
		if (sigaction(endings[i], NULL, &former) == 0 && former.sa_handler != SIG_IGN)
			(void)sigaction(endings[i], &action, NULL);
}

/* They wait while names change, and what the handler reads. */
static void hold_endings(sigset_t *ret_former)
{
	sigset_t held;

	sigemptyset(&held);
	for (size_t i = 0; i < N_ELEMENTS(endings); i++)
		sigaddset(&held, endings[i]);
	(void)sigprocmask(SIG_BLOCK, &held, ret_former);
}

static void release_endings(const sigset_t *former)
{
	(void)sigprocmask(SIG_SETMASK, former, NULL);
}

_printf_(3, 4) static int fail(struct staged *staged, int error, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(staged->error, sizeof(staged->error), format, list);
	va_end(list);
	return error;
}

/* The directory that path is in. */
static int open_directory(const char *path)
{
	_cleanup_(freep) char *directory = strdup(path);
	char *slash = directory ? strrchr(directory, '/') : NULL;
	int fd;

	if (!directory)
		return -ENOMEM;
	if (slash)
		slash[slash == directory] = '\0';
	fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int staged_lock(const char *path)
{
	_cleanup_(closep) int fd = open_directory(path);

	if (fd < 0)
		return fd;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* What would let all be written, and then not be put in place. */
static int check_replaceable(struct staged *staged, const char *path)
{
	struct statx found;

	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &found) < 0)
		return fail(staged, -errno, "%s: %s", path, strerror(errno));
	if (found.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND))
		return fail(staged, -EPERM, "%s can't be replaced as it is (chattr -i -a %s)", path,
			path);
	if (found.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return fail(staged, -EBUSY, "%s can't be replaced: it is mounted there", path);
	return 0;
}

/* The file that a path leads to, also where it is not there yet. A link that leads to nothing is
 * somebody's mistake. */
static int resolve(struct staged *staged, const char *path, char **ret, struct stat *ret_status)
{
	struct stat status;

	*ret_status = (struct stat){ 0 };
	if (lstat(path, &status) < 0) {
		if (errno != ENOENT)
			return fail(staged, -errno, "%s: %s", path, strerror(errno));
		*ret = strdup(path);
		return *ret ? 0 : -ENOMEM;
	}
	*ret = realpath(path, NULL);
	if (!*ret && errno == ENOENT)
		return fail(staged, -ENOENT, "%s is a link to nothing", path);
	if (!*ret || stat(*ret, ret_status) < 0)
		return fail(staged, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(ret_status->st_mode))
		return fail(staged, -EINVAL, "%s is not a regular file", path);
	return check_replaceable(staged, *ret);
}

/* That of acl(5): jitgated may read its configuration by it alone. */
static int take_access_list(struct staged *staged, struct staged_file *file)
{
	static const char name[] = "system.posix_acl_access";
	char list[ACCESS_LIST_BYTES_MAX];
	ssize_t n = getxattr(file->path, name, list, sizeof(list));

	if (n < 0 && (errno == ENODATA || errno == EOPNOTSUPP))
		return 0;
	if (n < 0 || fsetxattr(file->fd, name, list, (size_t)n, 0) < 0)
		return fail(staged, -errno, "%s: can't keep its access list: %s", file->path,
			strerror(errno));
	return 0;
}

static int take_rights(struct staged *staged, struct staged_file *file, const struct stat *status,
	mode_t mode, bool secret)
{
	bool exists = S_ISREG(status->st_mode);
	int r;

	if (exists && fchown(file->fd, status->st_uid, status->st_gid) < 0)
		return fail(staged, -errno, "%s: can't keep its owner: %s", file->path,
			strerror(errno));
	if (exists)
		mode = status->st_mode & (secret ? 0770 : 0777);
	r = exists ? take_access_list(staged, file) : 0;
	if (r < 0)
		return r;
	if (fchmod(file->fd, mode) < 0)
		return fail(staged, -errno, "%s: %s", file->path, strerror(errno));
	return 0;
}

static int file_begin(struct staged *staged, struct staged_file *file, const struct stat *status,
	mode_t mode, bool secret, size_t n_bytes)
{
	int r;

	if (asprintf(&file->temporary, "%s.XXXXXX", file->path) < 0) {
		file->temporary = NULL;
		return -ENOMEM;
	}
	/* Mode 0600 until it is as it should be. */
	file->fd = mkostemp(file->temporary, O_CLOEXEC);
	if (file->fd < 0) {
		r = fail(staged, -errno, "%s can't be written: %s", file->path, strerror(errno));
		free(TAKE_PTR(file->temporary));
		return r;
	}
	r = n_bytes > 0 ? posix_fallocate(file->fd, 0, n_bytes) : 0;
	/* Where a file system can't do that, writing will tell. */
	if (r != 0 && r != EOPNOTSUPP && r != EINVAL)
		return fail(staged, -r, "%s can't be written: %s", file->path, strerror(r));
	return take_rights(staged, file, status, mode, secret);
}

int staged_add(struct staged *staged, const char *path, mode_t mode, bool secret, size_t n_bytes,
	const char *backup_suffix)
{
	struct staged_file *file = &staged->files[staged->n_files];
	struct stat status;
	sigset_t former;
	int r;

	if (staged->n_files == STAGED_FILES_MAX)
		return fail(staged, -E2BIG, "too many files");
	*file = (struct staged_file){ .fd = -1, .backup_suffix = backup_suffix };
	hold_endings(&former);
	/* Counted before it is whole, so that staged_done() sees it. */
	staged->n_files++;
	unfinished = staged;
	memory_on_end = give_up;
	catch_endings();
	r = resolve(staged, path, &file->path, &status);
	if (r == 0)
		r = file_begin(staged, file, &status, mode, secret, n_bytes);
	release_endings(&former);
	if (r == -ENOMEM)
		(void)fail(staged, r, "out of memory");
	return r < 0 ? r : (int)staged->n_files - 1;
}

void staged_share(struct staged *staged, int index, gid_t group)
{
	struct staged_file *file = &staged->files[index];

	if (access(file->path, F_OK) < 0 && fchown(file->fd, (uid_t)-1, group) == 0)
		(void)fchmod(file->fd, 0640);
}

int staged_write(struct staged *staged, int index, const char *bytes, size_t n_bytes)
{
	struct staged_file *file = &staged->files[index];
	size_t n = 0;

	if (ftruncate(file->fd, 0) < 0 || lseek(file->fd, 0, SEEK_SET) < 0)
		return fail(staged, -errno, "%s: %s", file->path, strerror(errno));
	while (n < n_bytes) {
		ssize_t n_written = write(file->fd, bytes + n, n_bytes - n);

		if (n_written < 0 && errno == EINTR)
			continue;
		if (n_written < 0)
			return fail(staged, -errno, "%s can't be written: %s", file->path,
				strerror(errno));
		n += n_written;
	}
	if (fsync(file->fd) < 0)
		return fail(staged, -errno, "%s: %s", file->path, strerror(errno));
	return 0;
}

/* Keeps what is there under a name beside it. */
static int former_keep(struct staged_file *file)
{
	struct stat status;

	if (lstat(file->path, &status) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (asprintf(&file->former, "%s.former", file->temporary) < 0) {
		file->former = NULL;
		return -ENOMEM;
	}
	if (link(file->path, file->former) < 0) {
		int error = errno;

		free(TAKE_PTR(file->former));
		return -error;
	}
	return 0;
}

static int file_place(struct staged_file *file)
{
	int r;

	r = former_keep(file);
	if (r < 0)
		return r;
	if (rename(file->temporary, file->path) < 0)
		return -errno;
	file->placed = true;
	return 0;
}

static void file_take_back(struct staged_file *file)
{
	if (!file->placed)
		return;
	if (file->former)
		(void)rename(file->former, file->path);
	else
		(void)unlink(file->path);
	free(TAKE_PTR(file->former));
}

static void sync_directory(const char *path)
{
	_cleanup_(closep) int fd = open_directory(path);

	if (fd >= 0)
		(void)fsync(fd);
}

/* What was there becomes the backup, or goes. */
static void file_settle(struct staged_file *file)
{
	_cleanup_(freep) char *backup = NULL;

	if (file->former && file->backup_suffix &&
		asprintf(&backup, "%s%s", file->path, file->backup_suffix) < 0)
		backup = NULL;
	if (file->former && (!backup || rename(file->former, backup) < 0))
		(void)unlink(file->former);
	free(TAKE_PTR(file->former));
	sync_directory(file->path);
}

static int place_all(struct staged *staged)
{
	size_t i;
	int r;

	for (i = 0; i < staged->n_files; i++) {
		r = file_place(&staged->files[i]);
		if (r < 0)
			break;
	}
	if (i < staged->n_files) {
		(void)fail(staged, r, "%s can't be put in place: %s", staged->files[i].path,
			strerror(-r));
		while (i-- > 0)
			file_take_back(&staged->files[i]);
		return r;
	}
	for (i = 0; i < staged->n_files; i++)
		file_settle(&staged->files[i]);
	return 0;
}

int staged_place(struct staged *staged)
{
	sigset_t former;
	int r;

	hold_endings(&former);
	r = place_all(staged);
	release_endings(&former);
	return r;
}

void staged_done(struct staged *staged)
{
	sigset_t former;

	hold_endings(&former);
	for (size_t i = 0; i < staged->n_files; i++) {
		struct staged_file *file = &staged->files[i];

		if (file->temporary && !file->placed)
			(void)unlink(file->temporary);
		/* A link that was made, and not needed. */
		if (file->former)
			(void)unlink(file->former);
		closep(&file->fd);
		free(file->temporary);
		free(file->former);
		free(file->path);
	}
	staged->n_files = 0;
	unfinished = NULL;
	memory_on_end = NULL;
	release_endings(&former);
}
