/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "contrib/control-plane/store/database.h"
#include "contrib/control-plane/store/statements.h"

#define APPLICATION_ID 0x6a697467 /* "jitg" */

/* While it is opened another process may be making it, and that is waited for. Later it is sqlite.c
 * that waits, so that the event loop does not. */
#define OPEN_TRIES 500
#define OPEN_PAUSE_USEC 10000
#define BUSY_MS 5

/* So much is looked through when it is opened; of what is larger, which would take minutes, damage
 * is found where it is read. */
#define CHECKED_BYTES_MAX (64 * 1024 * 1024)

static int _printf_(3, 4) say(char **ret_error, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_error, format, arguments) < 0)
		*ret_error = NULL;
	va_end(arguments);

	return error;
}

/* -errno for what SQLite has just returned. Not by sqlite3_system_errno(): it knows nothing of what
 * sqlite3_step() met. */
static int database_error(int status)
{
	const int error = errno;

	switch (status & 0xff) {
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_IOERR:
		if (status == SQLITE_IOERR_NOMEM)
			return -ENOMEM;
		/* A quota or a limit on files is as good as a full disk. */
		return error == ENOSPC || error == EDQUOT || error == EFBIG ? -ENOSPC : -EIO;
	case SQLITE_CANTOPEN:
		return error > 0 && error != ENOENT ? -error : -EIO;
	default:
		return -EIO;
	}
}

int statement_step(sqlite3_stmt *statement)
{
	int status = sqlite3_step(statement);

	if (status == SQLITE_ROW)
		return 1;
	return status == SQLITE_DONE ? 0 : database_error(status);
}

int database_run(struct database *database, enum database_statement statement)
{
	_cleanup_(statement_resetp) sqlite3_stmt *run = database->statements[statement];
	int r = statement_step(run);

	return r < 0 ? r : 0;
}

int database_read_state(struct database *database, struct database_state *ret)
{
	_cleanup_(statement_resetp) sqlite3_stmt *read = database->statements[DATABASE_STATE_READ];
	int r = statement_step(read);

	if (r <= 0)
		return r < 0 ? r : -EBADMSG;
	*ret = (struct database_state){
		.revision = sqlite3_column_int64(read, 0),
		.compacted = sqlite3_column_int64(read, 1),
		.history_bytes = sqlite3_column_int64(read, 2),
		.lease_usec = sqlite3_column_int64(read, 3),
		.leap_usec = sqlite3_column_int64(read, 4),
	};

	return 0;
}

int database_write_state(struct database *database, const struct database_state *state)
{
	_cleanup_(statement_resetp) sqlite3_stmt *write =
		database->statements[DATABASE_STATE_WRITE];

	sqlite3_bind_int64(write, 1, state->revision);
	sqlite3_bind_int64(write, 2, state->compacted);
	sqlite3_bind_int64(write, 3, state->history_bytes);
	sqlite3_bind_int64(write, 4, state->lease_usec);
	sqlite3_bind_int64(write, 5, state->leap_usec);

	return statement_step(write);
}

/* Resolves the directory, so that SQLite, which refuses symbolic links anywhere, refuses only one
 * in the file's place. */
static int database_locate(struct database *database, const char *path, char **ret_error)
{
	_cleanup_(freep) char *for_dirname = strdup(path);
	_cleanup_(freep) char *for_basename = strdup(path);
	_cleanup_(freep) char *directory = NULL;

	if (!for_dirname || !for_basename)
		return -ENOMEM;
	if (path[0] == '\0')
		return say(ret_error, -EINVAL, "the store's path is empty");
	directory = realpath(dirname(for_dirname), NULL);
	if (!directory)
		return say(ret_error, -errno, "%s: its directory: %s", path, strerror(errno));
	if (asprintf(&database->path, "%s/%s", directory, basename(for_basename)) < 0) {
		database->path = NULL;
		return -ENOMEM;
	}
	if (asprintf(&database->wal_path, "%s-wal", database->path) < 0) {
		database->wal_path = NULL;
		return -ENOMEM;
	}

	return 0;
}

/*
 * Makes the file where there is none. One that is there is not opened here: closing it would drop
 * the locks of another store of this process on it (fcntl(2)).
 */
static int database_check_file(const struct database *database, char **ret_error)
{
	const char *path = database->path;
	_cleanup_(closep) int fd = -1;
	struct stat status;

	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0)
		return 0;
	if (errno != EEXIST)
		return say(ret_error, -errno, "%s can't be made: %s", path, strerror(errno));
	if (lstat(path, &status) < 0)
		return say(ret_error, -errno, "%s: %s", path, strerror(errno));
	if (S_ISLNK(status.st_mode))
		return say(ret_error, -ELOOP, "%s is a symbolic link: name the file itself", path);
	if (S_ISDIR(status.st_mode))
		return say(ret_error, -EISDIR, "%s is a directory: name a file in it", path);
	if (!S_ISREG(status.st_mode))
		return say(ret_error, -EINVAL, "%s is not a file", path);

	return 0;
}

static int database_connect(struct database *database, char **ret_error)
{
	const char *path = database->path;
	int status, error;

	status = sqlite3_open_v2(path, &database->connection,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX, NULL);
	if (!database->connection)
		return -ENOMEM;
	if (status != SQLITE_OK) {
		error = database_error(status);
		return say(ret_error, error, "%s can't be opened: %s", path, strerror(-error));
	}
	sqlite3_extended_result_codes(database->connection, 1);
	sqlite3_busy_timeout(database->connection, BUSY_MS);
	if (sqlite3_db_readonly(database->connection, "main"))
		return say(ret_error, -EROFS, "%s can't be written", path);

	return 0;
}

static int database_execute(struct database *database, const char *sql)
{
	int status = sqlite3_exec(database->connection, sql, NULL, NULL, NULL);

	return status == SQLITE_OK ? 0 : database_error(status);
}

/* The first row of a query, as far as its columns are integers. */
static int database_query(struct database *database, const char *sql, int64_t *values, int n_values)
{
	sqlite3_stmt *query = NULL;
	int status = sqlite3_prepare_v2(database->connection, sql, -1, &query, NULL);
	int r = status == SQLITE_OK ? statement_step(query) : database_error(status);

	for (int i = 0; r > 0 && i < n_values; i++)
		values[i] = sqlite3_column_int64(query, i);
	sqlite3_finalize(query);

	return r < 0 ? r : 0;
}

/* Whose the file is, and of which schema: 0 where it is empty. For that, a transaction must be
 * under way, as another process may be making it. */
static int database_read_version(struct database *database, int64_t *ret, char **ret_error)
{
	const char *path = database->path;
	int64_t application, version, n_objects;
	int r = database_query(database, "PRAGMA application_id", &application, 1);

	if (r >= 0)
		r = database_query(database, "PRAGMA user_version", &version, 1);
	if (r >= 0)
		r = database_query(database, "SELECT count(*) FROM sqlite_master", &n_objects, 1);
	if (r < 0)
		return r;
	if (application == 0 && version == 0 && n_objects == 0) {
		*ret = 0;
		return 0;
	}
	if (application != APPLICATION_ID)
		return say(ret_error, -EINVAL, "%s is another program's database", path);
	if (version < 1 || version > database_n_migrations)
		return say(ret_error, -EINVAL,
			"%s is of version %lld of the store, and this program knows up to %d: "
			"use the newer program",
			path, (long long)version, database_n_migrations);

	*ret = version;
	return 0;
}

static int database_migrate(struct database *database, char **ret_error)
{
	char sql[96];
	int64_t version;
	int r = database_execute(database, "BEGIN IMMEDIATE");

	if (r < 0)
		return r;
	/* Again: another process may have made it since. */
	r = database_read_version(database, &version, ret_error);
	for (; r >= 0 && version < database_n_migrations; version++)
		r = database_execute(database, database_migrations[version]);
	if (r < 0)
		return r;
	snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
		APPLICATION_ID, database_n_migrations);

	return database_execute(database, sql);
}

/* Returns 1 where the text that a query gives is this one, 0, or -errno. */
static int database_says(struct database *database, const char *sql, const char *text)
{
	sqlite3_stmt *query = NULL;
	int status = sqlite3_prepare_v2(database->connection, sql, -1, &query, NULL);
	int r = status == SQLITE_OK ? statement_step(query) : database_error(status);
	const char *said = r > 0 ? (const char *)sqlite3_column_text(query, 0) : NULL;

	if (r > 0)
		r = said && strcmp(said, text) == 0;
	sqlite3_finalize(query);

	return r;
}

/* Returns 0, -EBADMSG where it is damaged, or another -errno. */
static int database_check(struct database *database)
{
	int64_t n_bytes;
	int r = database_query(database,
		"SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", &n_bytes,
		1);

	if (r < 0 || n_bytes > CHECKED_BYTES_MAX)
		return r;
	r = database_says(database, "PRAGMA quick_check(1)", "ok");
	return r == 0 ? -EBADMSG : r < 0 ? r : 0;
}

static int database_set_up(struct database *database, char **ret_error)
{
	int64_t version;
	int r = database_execute(database, "BEGIN");

	if (r >= 0)
		r = database_read_version(database, &version, ret_error);
	if (r >= 0)
		r = database_execute(database, "COMMIT");
	if (r < 0)
		return r;
	r = database_says(database, "PRAGMA journal_mode = WAL", "wal");
	if (r == 0)
		return say(ret_error, -EOPNOTSUPP,
			"%s: its file system can't share memory between processes; use a local one",
			database->path);
	/* trusted_schema: the file's own SQL calls nothing. */
	if (r > 0)
		r = database_execute(database,
			"PRAGMA synchronous = FULL;"
			"PRAGMA trusted_schema = OFF;"
			"PRAGMA wal_autocheckpoint = 1000;"
			"PRAGMA journal_size_limit = 16777216;"
			"PRAGMA cache_size = -8192");
	if (r >= 0 && version < database_n_migrations)
		r = database_migrate(database, ret_error);
	if (r >= 0)
		r = database_check(database);

	return r < 0 ? r : 0;
}

static int database_prepare(struct database *database)
{
	sqlite3_stmt *identity = NULL;
	int status, r;

	for (int i = 0; i < DATABASE_STATEMENT_COUNT; i++) {
		status = sqlite3_prepare_v3(database->connection, database_statements[i], -1,
			SQLITE_PREPARE_PERSISTENT, &database->statements[i], NULL);
		if (status != SQLITE_OK)
			return database_error(status);
	}
	status = sqlite3_prepare_v2(
		database->connection, "SELECT identity FROM state", -1, &identity, NULL);
	r = status == SQLITE_OK ? statement_step(identity) : database_error(status);
	if (r > 0)
		snprintf(database->identity, sizeof(database->identity), "%s",
			(const char *)sqlite3_column_text(identity, 0));
	sqlite3_finalize(identity);
	if (r == 0)
		return -EBADMSG;

	return r < 0 ? r : 0;
}

/* A sentence for an error that has none yet. */
static int database_explain(const struct database *database, int error, char **ret_error)
{
	if (*ret_error || error == -ENOMEM)
		return error;

	switch (error) {
	case -EBADMSG:
		return say(ret_error, error,
			"%s is damaged, or not a store: restore it from a backup, or name another "
			"file",
			database->path);
	case -EBUSY:
		return say(ret_error, error, "%s is locked by another process", database->path);
	case -ENOSPC:
		return say(ret_error, error, "%s: no space is left for it", database->path);
	default:
		return say(ret_error, error, "%s: %s", database->path,
			sqlite3_errmsg(database->connection));
	}
}

int database_open(const char *path, struct database **ret, char **ret_error)
{
	_cleanup_(database_freep) struct database *database = calloc(1, sizeof(*database));
	int r;

	*ret_error = NULL;
	if (!database)
		return -ENOMEM;
	r = database_locate(database, path, ret_error);
	if (r >= 0)
		r = database_check_file(database, ret_error);
	if (r >= 0)
		r = database_connect(database, ret_error);
	if (r < 0)
		return r;
	for (int i = 0; i < OPEN_TRIES; i++) {
		r = database_set_up(database, ret_error);
		if (r != -EBUSY)
			break;
		if (!sqlite3_get_autocommit(database->connection))
			database_execute(database, "ROLLBACK");
		usleep(OPEN_PAUSE_USEC);
	}
	if (r >= 0)
		r = database_prepare(database);
	if (r < 0)
		return database_explain(database, r, ret_error);

	*ret = TAKE_PTR(database);
	return 0;
}

struct database *database_free(struct database *database)
{
	if (database) {
		for (int i = 0; i < DATABASE_STATEMENT_COUNT; i++)
			sqlite3_finalize(database->statements[i]);
		sqlite3_close(database->connection);
		free(database->path);
		free(database->wal_path);
		free(database);
	}

	return NULL;
}
