/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * The file is text, a record a line, with blank lines behind the last record:
 *
 *   {"document":"eyJh..."}\n{"document":"eyJi..."}\n\n\n\n\n\n\n\n\n\n
 *                                                   ^ end           ^ filled
 *
 * The blank lines are room made ahead. A file system that syncs a file which has grown must write
 * its inode too, through its journal; a record that is written over room that was there before
 * costs about half.
 *
 * A crash may leave any part of what was not synced yet, so what is behind the last record is
 * either blank or torn: the last line that is not blank counts as torn unless it is a record. All
 * behind end is free to be cut off at any time, which is how a failed write is undone.
 */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/daemon/ledger.h"
#include "agent/daemon/ledger_reader.h"

#define FILL_BYTES (64 * 1024)
#define NEW_SUFFIX ".new"

struct ledger {
	int directory_fd;
	char *name;
	char *new_name;
	int fd; /* or -1: there is no file and none could be made */
	int write_error; /* why it can only be read, or 0 */
	off_t end; /* behind the last record */
	off_t filled; /* behind the room made ahead */
	size_t n_lines;
	bool is_read; /* end is known */
	bool is_unsound; /* the file has something behind end that must be cut off first */
	bool lacks_newline; /* the last record's is still to be written */
	bool directory_unsynced;
	char buffer[LEDGER_RECORD_BYTES_MAX + FILL_BYTES];
};

struct ledger *ledger_free(struct ledger *ledger)
{
	if (ledger) {
		closep(&ledger->fd);
		closep(&ledger->directory_fd);
		free(ledger->name);
		free(ledger->new_name);
		free(ledger);
	}

	return NULL;
}

/* Syncs the directory where a name in it has changed: until then a crash may bring the old file
 * back. */
static int ledger_sync_directory(struct ledger *ledger)
{
	if (!ledger->directory_unsynced)
		return 0;
	/* EINVAL: a file system that has nothing to sync in a directory. */
	if (fsync(ledger->directory_fd) < 0 && errno != EINVAL)
		return -errno;

	ledger->directory_unsynced = false;
	return 0;
}

/* Opens the directory and works out the names in it. */
static int ledger_locate(struct ledger *ledger, const char *path)
{
	_cleanup_(freep) char *for_dirname = strdup(path);
	_cleanup_(freep) char *for_basename = strdup(path);

	if (!for_dirname || !for_basename)
		return -ENOMEM;
	ledger->name = strdup(basename(for_basename));
	if (!ledger->name)
		return -ENOMEM;
	if (asprintf(&ledger->new_name, "%s" NEW_SUFFIX, ledger->name) < 0) {
		ledger->new_name = NULL;
		return -ENOMEM;
	}

	ledger->directory_fd = open(dirname(for_dirname), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return ledger->directory_fd < 0 ? -errno : 0;
}

/* Errors that say that nothing can be written here now, though all may be well otherwise. */
static bool error_is_unwritable(int error)
{
	return error == EROFS || error == EACCES || error == EPERM || error == ENOSPC ||
		error == EDQUOT;
}

/* Opens or makes the file. Sets fd and write_error. */
static int ledger_open_file(struct ledger *ledger)
{
	/* O_NONBLOCK so that opening a pipe or a device does not wait; it means nothing to a file.
	 */
	const int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;

	ledger->write_error = 0;
	ledger->fd = openat(ledger->directory_fd, ledger->name, O_RDWR | flags);
	if (ledger->fd >= 0)
		return 0;

	if (errno == ENOENT) {
		ledger->fd = openat(ledger->directory_fd, ledger->name,
			O_RDWR | O_CREAT | O_EXCL | flags, 0600);
		if (ledger->fd >= 0) {
			ledger->directory_unsynced = true;
			return 0;
		}
		if (!error_is_unwritable(errno))
			return -errno;
		ledger->write_error = -errno;
		return 0;
	}

	if (!error_is_unwritable(errno))
		return -errno;
	ledger->write_error = -errno;
	ledger->fd = openat(ledger->directory_fd, ledger->name, O_RDONLY | flags);

	return ledger->fd < 0 ? -errno : 0;
}

/*
 * Locks a file of ours. Returns 1 where the name has come to mean another file meanwhile: whoever
 * held the lock has rewritten it.
 */
static int ledger_lock(struct ledger *ledger)
{
	struct stat opened, named;

	if (fstat(ledger->fd, &opened) < 0)
		return -errno;
	if (!S_ISREG(opened.st_mode))
		return -EINVAL;
	if (flock(ledger->fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	if (fstatat(ledger->directory_fd, ledger->name, &named, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 1 : -errno;

	return opened.st_dev != named.st_dev || opened.st_ino != named.st_ino;
}

/* Opens or makes the file and locks it, where that has not been done. */
static int ledger_acquire(struct ledger *ledger)
{
	int r;

	if (ledger->fd >= 0)
		return 0;

	do {
		closep(&ledger->fd);
		r = ledger_open_file(ledger);
		if (r == 0 && ledger->fd >= 0)
			r = ledger_lock(ledger);
	} while (r == 1 || r == -EEXIST);
	if (r < 0) {
		closep(&ledger->fd);
		ledger->fd = -1;
		return r;
	}

	/* Where it fails, ledger_sync() tries again and says so. */
	(void)ledger_sync_directory(ledger);
	return 0;
}

int ledger_open(const char *path, struct ledger **ret)
{
	_cleanup_(ledger_freep) struct ledger *ledger = calloc(1, sizeof(*ledger));
	int r;

	if (!ledger)
		return -ENOMEM;
	ledger->fd = ledger->directory_fd = -1;
	r = ledger_locate(ledger, path);
	if (r < 0)
		return r;

	r = ledger_acquire(ledger);
	if (r < 0)
		return r;

	*ret = TAKE_PTR(ledger);
	return 0;
}

/* Cuts off what is behind the last record, and gives it its newline. */
static int ledger_mend(struct ledger *ledger)
{
	ssize_t n;

	if (!ledger->is_unsound)
		return 0;
	if (ftruncate(ledger->fd, ledger->end) < 0)
		return -errno;
	ledger->filled = ledger->end;

	if (ledger->lacks_newline) {
		n = pwrite(ledger->fd, "\n", 1, ledger->end);
		if (n != 1)
			return n < 0 ? -errno : -EIO;
		ledger->filled = ++ledger->end;
		ledger->lacks_newline = false;
	}

	ledger->is_unsound = false;
	return 0;
}

/* The record on a line, or NULL. */
static json_t *line_parse(const struct ledger_line *line)
{
	json_auto_t *record = NULL;

	if (!line->text)
		return NULL;
	record = json_loadb(
		line->text, line->n_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	return json_is_object(record) ? TAKE_PTR(record) : NULL;
}

/* What reading found. */
struct findings {
	struct ledger_damage damage;
	off_t torn_end;
	off_t end; /* behind the last line that counts */
	size_t n_lines;
	bool lacks_newline;
};

/* Where a line follows, the one that was taken for torn was a bad one. */
static void findings_note_line(struct findings *found)
{
	if (found->damage.torn_bytes == 0)
		return;

	found->damage.torn_bytes = 0;
	found->damage.bad_lines++;
	found->n_lines++;
	found->end = found->torn_end;
}

static int ledger_read_lines(struct ledger *ledger, struct ledger_reader *reader,
	int (*callback)(json_t *record, void *userdata), void *userdata, struct findings *found)
{
	struct ledger_line line;
	int r;

	ledger_reader_init(reader, ledger->fd);
	while ((r = ledger_reader_next(reader, &line)) > 0) {
		json_auto_t *record = line_parse(&line);

		findings_note_line(found);
		if (!record) {
			found->damage.torn_bytes = line.n_bytes;
			found->torn_end = line.end;
			continue;
		}

		found->n_lines++;
		found->end = line.end;
		found->lacks_newline = !line.has_newline;
		r = callback ? callback(record, userdata) : 0;
		if (r < 0)
			return r;
	}

	return r;
}

int ledger_read(struct ledger *ledger, int (*callback)(json_t *record, void *userdata),
	void *userdata, struct ledger_damage *ret_damage)
{
	_cleanup_(freep) struct ledger_reader *reader = malloc(sizeof(*reader));
	struct findings found = {};
	int r;

	if (!reader)
		return -ENOMEM;

	if (ledger->fd >= 0) {
		r = ledger_read_lines(ledger, reader, callback, userdata, &found);
		if (r < 0)
			return r;
		ledger->end = found.end;
		ledger->filled = ledger_reader_offset(reader);
		ledger->n_lines = found.n_lines;
		ledger->lacks_newline = found.lacks_newline;
		ledger->is_unsound = found.damage.torn_bytes > 0 || found.lacks_newline;
		ledger->is_read = true;
		/* Where it fails, the next append tries again and says so. */
		if (ledger->write_error == 0)
			(void)ledger_mend(ledger);
	}
	if (ret_damage)
		*ret_damage = found.damage;

	return 0;
}

/* Writes a record and its newline. Returns 0, -EINVAL where it is no object, or -E2BIG. */
static int record_format(
	const json_t *record, char text[static LEDGER_RECORD_BYTES_MAX], size_t *ret_bytes)
{
	size_t n_bytes;

	if (!json_is_object(record))
		return -EINVAL;
	n_bytes = json_dumpb(record, text, LEDGER_RECORD_BYTES_MAX, JSON_COMPACT);
	if (n_bytes == 0)
		return -EINVAL;
	if (n_bytes >= LEDGER_RECORD_BYTES_MAX)
		return -E2BIG;

	text[n_bytes] = '\n';
	*ret_bytes = n_bytes + 1;
	return 0;
}

/* Writes the buffer's first n_bytes behind the last record, making room ahead where they do not fit
 * in. */
static int ledger_write(struct ledger *ledger, size_t n_bytes)
{
	size_t n_total = n_bytes, n_done = 0;

	if (ledger->end + (off_t)n_bytes > ledger->filled) {
		memset(ledger->buffer + n_bytes, '\n', FILL_BYTES);
		n_total += FILL_BYTES;
	}

	while (n_done < n_bytes) {
		ssize_t n = pwrite(ledger->fd, ledger->buffer + n_done, n_total - n_done,
			ledger->end + (off_t)n_done);
		int error = n < 0 ? errno : ENOSPC;

		if (n > 0) {
			n_done += (size_t)n;
		} else if (n_total > n_bytes) {
			n_total = n_bytes; /* the record alone may fit */
		} else if (error != EINTR) {
			ledger->is_unsound = true;
			(void)ledger_mend(ledger);
			return -error;
		}
	}

	if (ledger->filled < ledger->end + (off_t)n_done)
		ledger->filled = ledger->end + (off_t)n_done;
	ledger->end += (off_t)n_bytes;
	ledger->n_lines++;

	return 0;
}

int ledger_append(struct ledger *ledger, const json_t *record)
{
	size_t n_bytes;
	int r;

	r = ledger_acquire(ledger);
	if (r < 0)
		return r;
	if (ledger->write_error < 0)
		return ledger->write_error;
	if (!ledger->is_read) {
		r = ledger_read(ledger, NULL, NULL, NULL);
		if (r < 0)
			return r;
	}
	r = ledger_mend(ledger);
	if (r < 0)
		return r;

	r = record_format(record, ledger->buffer, &n_bytes);
	if (r < 0)
		return r;

	return ledger_write(ledger, n_bytes);
}

int ledger_sync(struct ledger *ledger)
{
	if (ledger->write_error < 0)
		return ledger->write_error;
	if (fdatasync(ledger->fd) < 0)
		return -errno;

	return ledger_sync_directory(ledger);
}

static int fd_write(int fd, const char *bytes, size_t n_bytes)
{
	while (n_bytes > 0) {
		ssize_t n = write(fd, bytes, n_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
		bytes += n;
		n_bytes -= (size_t)n;
	}

	return 0;
}

/* Writes records to a new file, through the ledger's buffer, and syncs it. */
static int ledger_write_new(struct ledger *ledger, int fd, const json_t *records)
{
	size_t n_held = 0, n_bytes, i;
	const json_t *record;
	int r;

	json_array_foreach (records, i, record) {
		r = record_format(record, ledger->buffer + n_held, &n_bytes);
		if (r < 0)
			return r;
		n_held += n_bytes;
		if (n_held <= sizeof(ledger->buffer) - LEDGER_RECORD_BYTES_MAX)
			continue;
		r = fd_write(fd, ledger->buffer, n_held);
		if (r < 0)
			return r;
		n_held = 0;
	}
	r = fd_write(fd, ledger->buffer, n_held);
	if (r < 0)
		return r;

	return fsync(fd) < 0 ? -errno : 0;
}

/* Makes a new file of the records and gives it the ledger's name. */
static int ledger_replace(struct ledger *ledger, int fd, const json_t *records)
{
	int r;

	/* Before it has the name, so that nobody finds it unlocked. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	r = ledger_write_new(ledger, fd, records);
	if (r < 0)
		return r;
	if (renameat(ledger->directory_fd, ledger->new_name, ledger->directory_fd, ledger->name) <
		0)
		return -errno;

	return 0;
}

int ledger_rewrite(struct ledger *ledger, const json_t *records)
{
	_cleanup_(closep) int fd = -1;
	int r;

	r = ledger_acquire(ledger);
	if (r < 0)
		return r;
	if (ledger->fd < 0)
		return ledger->write_error;

	/* A crash may have left one; it is not opened, since it may be anything. */
	(void)unlinkat(ledger->directory_fd, ledger->new_name, 0);
	fd = openat(ledger->directory_fd, ledger->new_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		0600);
	if (fd < 0)
		return -errno;
	r = ledger_replace(ledger, fd, records);
	if (r < 0) {
		(void)unlinkat(ledger->directory_fd, ledger->new_name, 0);
		return r;
	}

	closep(&ledger->fd);
	ledger->fd = TAKE_FD(fd);
	ledger->write_error = 0;
	ledger->end = ledger->filled = lseek(ledger->fd, 0, SEEK_CUR);
	ledger->n_lines = json_array_size(records);
	ledger->is_read = true;
	ledger->is_unsound = ledger->lacks_newline = false;
	ledger->directory_unsynced = true;

	return ledger_sync_directory(ledger);
}

size_t ledger_count(const struct ledger *ledger)
{
	return ledger->n_lines;
}
