/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/daemon/audit_file.h"
#include "cleanup.h"

#define HASH_BYTES (AUDIT_HASH_HEX / 2)

static int hash_line(const char *line, size_t n_bytes, char ret[static AUDIT_HASH_HEX + 1])
{
	uint8_t digest[HASH_BYTES];

	if (EVP_Digest(line, n_bytes, digest, NULL, EVP_sha256(), NULL) != 1)
		return -EIO;
	for (size_t i = 0; i < HASH_BYTES; i++)
		snprintf(ret + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

/*
 * After a power failure a file may have grown by what was never written: zeros (ext4 commits a size
 * with another file's fsync). They are cut off. Returns the size that is left, or -errno.
 */
static off_t cut_zeros(int fd, char block[static AUDIT_LINE_BYTES_MAX])
{
	struct stat stat;
	off_t left;

	if (fstat(fd, &stat) < 0)
		return -errno;
	left = stat.st_size;
	while (left > 0) {
		off_t from = left > AUDIT_LINE_BYTES_MAX ? left - AUDIT_LINE_BYTES_MAX : 0;
		ssize_t n = pread(fd, block, left - from, from);

		if (n != left - from)
			return n < 0 ? -errno : -EIO;
		while (n > 0 && block[n - 1] == '\0')
			n--;
		left = from + n;
		if (n > 0)
			break;
	}
	if (left < stat.st_size && ftruncate(fd, left) < 0)
		return -errno;
	return left;
}

/*
 * The last line gives the sequence number and the hash to go on from. A torn one (the machine
 * stopped while it was written) is ended with a newline: the chain goes on over it, so that it is
 * not lost. Returns 1, or 0 where there is none, or -errno.
 */
static int resume_from(struct audit_file *file, int fd, uint64_t *ret_sequence)
{
	_cleanup_(freep) char *tail = malloc(AUDIT_LINE_BYTES_MAX);
	json_auto_t *last = NULL;
	const char *line;
	off_t size, from;
	ssize_t n;
	int r;

	if (!tail)
		return -ENOMEM;
	size = cut_zeros(fd, tail);
	if (size <= 0)
		return (int)size;
	from = size > AUDIT_LINE_BYTES_MAX ? size - AUDIT_LINE_BYTES_MAX : 0;
	n = pread(fd, tail, AUDIT_LINE_BYTES_MAX, from);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	if (tail[n - 1] == '\n')
		n--;
	else if (write(fd, "\n", 1) != 1)
		return -errno;
	line = memrchr(tail, '\n', n);
	line = line ? line + 1 : tail;
	last = json_loadb(line, tail + n - line, JSON_REJECT_DUPLICATES, NULL);
	*ret_sequence = json_integer_value(json_object_get(last, "sequence"));
	r = hash_line(line, tail + n - line, file->previous);
	return r < 0 ? r : 1;
}

static int open_current(const struct audit_file *file)
{
	int fd = open(
		file->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0640);

	return fd < 0 ? -errno : fd;
}

/* A file that is empty follows the one before it. */
static int resume(struct audit_file *file, uint64_t *ret_sequence)
{
	_cleanup_(closep) int rotated = -1;
	int r = resume_from(file, file->fd, ret_sequence);

	file->was_empty = r == 0;
	if (r != 0)
		return r < 0 ? r : 0;
	rotated = open(file->rotated_path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	if (rotated < 0)
		return 0;
	r = resume_from(file, rotated, ret_sequence);
	return r < 0 ? r : 0;
}

int audit_file_open(struct audit_file *file, const char *directory, uint64_t n_bytes_max,
	uint64_t *ret_sequence, int *ret_error)
{
	*file = (struct audit_file){ .fd = -1, .n_bytes_max = n_bytes_max };
	memset(file->previous, '0', AUDIT_HASH_HEX);
	*ret_sequence = 0;
	if (asprintf(&file->path, "%s/audit.jsonl", directory) < 0) {
		file->path = NULL;
		return -ENOMEM;
	}
	if (asprintf(&file->rotated_path, "%s.1", file->path) < 0) {
		file->rotated_path = NULL;
		return -ENOMEM;
	}
	*ret_error = 0;
	file->fd = open_current(file);
	if (file->fd >= 0)
		*ret_error = resume(file, ret_sequence);
	else
		*ret_error = file->fd;
	if (*ret_error < 0) {
		closep(&file->fd);
		file->fd = -1;
	}
	return 0;
}

void audit_file_done(struct audit_file *file)
{
	closep(&file->fd);
	file->fd = -1;
	free(TAKE_PTR(file->path));
	free(TAKE_PTR(file->rotated_path));
}

static void sync_appended(struct audit_file *file)
{
	if (file->fd >= 0 && file->is_unsynced)
		file->is_unsynced = fdatasync(file->fd) < 0;
}

/* Where the file can't be renamed or made anew, it grows on: nothing is lost for want of room. */
static void rotate(struct audit_file *file)
{
	int fd;

	sync_appended(file);
	if (rename(file->path, file->rotated_path) < 0)
		return;
	fd = open_current(file);
	if (fd < 0) {
		(void)rename(file->rotated_path, file->path);
		return;
	}
	close(file->fd);
	file->fd = fd;
}

int audit_file_append(struct audit_file *file, json_t *record)
{
	_cleanup_(freep) char *line = NULL;
	char hash[AUDIT_HASH_HEX + 1];
	off_t end;
	size_t n;
	int r;

	if (file->fd < 0)
		return -EBADF;
	json_object_set_new(record, "previous", json_string(file->previous));
	line = json_dumps(record, JSON_COMPACT);
	json_object_del(record, "previous");
	if (!line)
		return -EINVAL;
	n = strlen(line);
	r = hash_line(line, n, hash);
	if (r < 0)
		return r;
	end = lseek(file->fd, 0, SEEK_END);
	if (end > 0 && (uint64_t)end + n + 1 > file->n_bytes_max) {
		rotate(file);
		end = lseek(file->fd, 0, SEEK_END);
	}
	errno = 0;
	line[n] = '\n'; /* in place of the NUL: the text is no string any more */
	if (write(file->fd, line, n + 1) != (ssize_t)(n + 1)) {
		int error = errno ? -errno : -EIO;

		if (end >= 0)
			(void)!ftruncate(file->fd, end);
		return error;
	}
	memcpy(file->previous, hash, sizeof(hash));
	file->is_unsynced = true;
	return 0;
}

/* A file's lines, read by offset into one block. */
struct lines {
	int fd;
	off_t n_bytes; /* of the file when it was opened */
	char *block; /* of AUDIT_LINE_BYTES_MAX + 1: the longest line and its newline */
	off_t from;
	ssize_t n;
};

/* The line that begins at offset. Returns its bytes without newline, and where the next begins;
 * NULL at the end, where it has no end, or is longer than any record. */
static const char *lines_at(struct lines *lines, off_t offset, size_t *ret_n, off_t *ret_next)
{
	const char *newline = NULL, *line;

	if (offset >= lines->n_bytes)
		return NULL;
	if (lines->n > 0 && offset >= lines->from && offset < lines->from + lines->n) {
		line = lines->block + (offset - lines->from);
		newline = memchr(line, '\n', lines->from + lines->n - offset);
	}
	if (!newline) {
		lines->from = offset;
		lines->n = pread(lines->fd, lines->block, AUDIT_LINE_BYTES_MAX + 1, offset);
		line = lines->block;
		newline = lines->n > 0 ? memchr(line, '\n', lines->n) : NULL;
	}
	if (!newline)
		return NULL;
	*ret_n = newline - line;
	*ret_next = offset + (newline - line) + 1;
	return line;
}

/* Where the first line behind offset begins: behind the next newline. */
static off_t lines_behind(struct lines *lines, off_t offset)
{
	size_t n;
	off_t next;

	if (offset == 0)
		return 0;
	/* From one before: an offset where a line begins is that line's. */
	return lines_at(lines, offset - 1, &n, &next) ? next : lines->n_bytes;
}

static json_t *record_read(const char *line, size_t n, uint64_t *ret_sequence)
{
	json_t *record = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
	const json_t *sequence = json_object_get(record, "sequence");

	if (!json_is_integer(sequence) || json_integer_value(sequence) < 1) {
		json_decref(record);
		return NULL;
	}
	*ret_sequence = (uint64_t)json_integer_value(sequence);
	return record;
}

/* The first record at or behind offset, where a line begins: its sequence number, and where the
 * line after it begins; false where there is none before end. */
static bool find_record(
	struct lines *lines, off_t offset, off_t end, off_t *ret_next, uint64_t *ret_sequence)
{
	const char *line;
	size_t n;

	while (offset < end && (line = lines_at(lines, offset, &n, ret_next))) {
		json_auto_t *record = record_read(line, n, ret_sequence);

		if (record)
			return true;
		offset = *ret_next;
	}
	return false;
}

/*
 * Where the records above after begin. Invariant: what begins before low is at most after, and what
 * begins at or behind high is above it, or no record.
 */
static off_t find_above(struct lines *lines, uint64_t after)
{
	off_t low = 0, high = lines->n_bytes;

	while (low < high) {
		off_t middle = low + (high - low) / 2;
		off_t start = lines_behind(lines, middle), next;
		uint64_t sequence;

		if (!find_record(lines, start, high, &next, &sequence)) {
			/* Lines that begin from here on are no records; one may begin before. */
			high = middle;
			continue;
		}
		if (sequence <= after)
			low = next;
		else
			high = middle;
	}
	return low;
}

struct listing {
	json_t *list;
	size_t n_max;
	size_t n_bytes_left;
};

static int list_from(struct lines *lines, uint64_t after, struct listing *listing)
{
	off_t offset = find_above(lines, after), next;
	const char *line;
	size_t n;

	while (json_array_size(listing->list) < listing->n_max && listing->n_bytes_left > 0 &&
		(line = lines_at(lines, offset, &n, &next))) {
		uint64_t sequence;
		json_auto_t *record = record_read(line, n, &sequence);

		offset = next;
		if (!record || sequence <= after)
			continue;
		json_object_del(record, "previous");
		json_array_append(listing->list, record);
		listing->n_bytes_left -= n < listing->n_bytes_left ? n : listing->n_bytes_left;
	}
	return 0;
}

static int list_file(const char *path, uint64_t after, char *block, struct listing *listing)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	struct lines lines = { .fd = fd, .block = block };
	struct stat stat;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &stat) < 0)
		return -errno;
	lines.n_bytes = stat.st_size;
	return list_from(&lines, after, listing);
}

int audit_file_list(
	struct audit_file *file, uint64_t after, size_t n_max, size_t n_bytes_max, json_t *list)
{
	_cleanup_(freep) char *block = malloc(AUDIT_LINE_BYTES_MAX + 1);
	struct listing listing = { .list = list, .n_max = n_max, .n_bytes_left = n_bytes_max };
	int r;

	if (!block)
		return -ENOMEM;
	sync_appended(file);
	r = list_file(file->rotated_path, after, block, &listing);
	return r < 0 ? r : list_file(file->path, after, block, &listing);
}
