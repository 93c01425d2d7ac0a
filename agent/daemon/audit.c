/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <systemd/sd-id128.h>

#include "agent/common/times.h"
#include "agent/daemon/audit.h"
#include "agent/daemon/audit_file.h"
#include "agent/daemon/audit_sequence.h"

/* Types by name, with the ids by which the journal's catalog explains them. */
static const struct {
	const char *name;
	const char *message_id;
	int priority;
} types[AUDIT_TYPE_COUNT] = {
	[AUDIT_AGENT_STARTED] = { "agent_started", "b2bd7ae9e2e74bd0a5d9f2a40be6fe01", LOG_INFO },
	[AUDIT_AGENT_STOPPED] = { "agent_stopped", "b2bd7ae9e2e74bd0a5d9f2a40be6fe02", LOG_INFO },
	[AUDIT_GATE_INSTALLED] = { "gate_installed", "b2bd7ae9e2e74bd0a5d9f2a40be6fe03",
		LOG_NOTICE },
	[AUDIT_GATE_REPAIRED] = { "gate_repaired", "b2bd7ae9e2e74bd0a5d9f2a40be6fe04",
		LOG_WARNING },
	[AUDIT_GATE_REMOVED] = { "gate_removed", "b2bd7ae9e2e74bd0a5d9f2a40be6fe05", LOG_WARNING },
	[AUDIT_DOCUMENT_ADMITTED] = { "document_admitted", "b2bd7ae9e2e74bd0a5d9f2a40be6fe06",
		LOG_INFO },
	[AUDIT_DOCUMENT_REFUSED] = { "document_refused", "b2bd7ae9e2e74bd0a5d9f2a40be6fe07",
		LOG_WARNING },
	[AUDIT_GRANT_ACTIVE] = { "grant_active", "b2bd7ae9e2e74bd0a5d9f2a40be6fe08", LOG_NOTICE },
	[AUDIT_GRANT_EXPIRED] = { "grant_expired", "b2bd7ae9e2e74bd0a5d9f2a40be6fe09", LOG_NOTICE },
	[AUDIT_GRANT_REVOKED] = { "grant_revoked", "b2bd7ae9e2e74bd0a5d9f2a40be6fe0a", LOG_NOTICE },
	[AUDIT_SESSION_OPENED] = { "session_opened", "b2bd7ae9e2e74bd0a5d9f2a40be6fe0b",
		LOG_NOTICE },
	[AUDIT_SESSION_ENDED] = { "session_ended", "b2bd7ae9e2e74bd0a5d9f2a40be6fe0c", LOG_INFO },
	[AUDIT_MODE_CHANGED] = { "mode_changed", "b2bd7ae9e2e74bd0a5d9f2a40be6fe0d", LOG_NOTICE },
	[AUDIT_CONFIGURATION_RELOADED] = { "configuration_reloaded",
		"b2bd7ae9e2e74bd0a5d9f2a40be6fe0e", LOG_INFO },
	[AUDIT_RELOAD_FAILED] = { "reload_failed", "b2bd7ae9e2e74bd0a5d9f2a40be6fe0f", LOG_ERR },
	[AUDIT_CLOCK_STEPPED] = { "clock_stepped", "b2bd7ae9e2e74bd0a5d9f2a40be6fe10",
		LOG_WARNING },
	[AUDIT_CLOCK_BEHIND] = { "clock_behind", "b2bd7ae9e2e74bd0a5d9f2a40be6fe11", LOG_ERR },
	[AUDIT_LEDGER_DAMAGED] = { "ledger_damaged", "b2bd7ae9e2e74bd0a5d9f2a40be6fe12", LOG_ERR },
};

struct audit {
	struct audit_file file;
	struct audit_sequence numbers;
	int journal_fd;
	uint64_t n_unsent; /* records that the journal's queue had no room for */
	uint64_t sequence; /* of the last record */
	uint64_t found; /* of the last one when it was opened */
	char boot_id[SD_ID128_STRING_MAX];
	void (*listener)(json_t *record, void *userdata);
	void *userdata;
};

const char *audit_path(const struct audit *audit)
{
	return audit->file.path;
}

const char *audit_type_name(enum audit_type type)
{
	return types[type].name;
}

bool audit_goes_on(const struct audit *audit, uint64_t *ret_newest)
{
	*ret_newest = audit->found;
	return audit->file.fd >= 0 && !audit->file.was_empty;
}

uint64_t audit_newest(const struct audit *audit)
{
	return audit->sequence;
}

void audit_set_bytes_max(struct audit *audit, uint64_t n_bytes_max)
{
	audit->file.n_bytes_max = n_bytes_max;
}

int audit_list(struct audit *audit, uint64_t after, size_t n_max, size_t n_bytes_max, json_t *list)
{
	return audit_file_list(&audit->file, after, n_max, n_bytes_max, list);
}

int audit_open(const struct config *config, void (*listener)(json_t *record, void *userdata),
	void *userdata, struct audit **ret, int *ret_file_error)
{
	_cleanup_(audit_freep) struct audit *audit = calloc(1, sizeof(*audit));
	sd_id128_t boot;
	uint64_t last;
	int status;

	if (!audit)
		return -ENOMEM;
	audit->file.fd = -1;
	audit->journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	audit->listener = listener;
	audit->userdata = userdata;
	if (sd_id128_get_boot(&boot) >= 0)
		sd_id128_to_string(boot, audit->boot_id);
	status = audit_file_open(
		&audit->file, config->log_directory, config->log_bytes_max, &last, ret_file_error);
	if (status == 0)
		status = audit_sequence_open(&audit->numbers, config->state_directory,
			config->runtime_directory, last, audit->file.was_empty, &audit->sequence);
	if (status < 0)
		return status;
	audit->found = audit->sequence;
	*ret = TAKE_PTR(audit);
	return 0;
}

struct audit *audit_free(struct audit *audit)
{
	if (!audit)
		return NULL;
	audit_file_done(&audit->file);
	audit_sequence_done(&audit->numbers);
	if (audit->journal_fd >= 0)
		close(audit->journal_fd);
	free(audit);
	return NULL;
}

static void put_string(json_t *record, const char *key, const char *value)
{
	if (value)
		json_object_set_new(record, key, json_string(value));
}

static json_t *audit_to_json(struct audit *audit, const struct audit_record *record, uint64_t usec)
{
	char time[TIME_STRING_MAX];
	json_t *json = json_object();

	json_object_set_new(json, "sequence", json_integer(audit->sequence));
	put_string(json, "time", time_format_utc(usec / USEC_PER_SEC, time));
	put_string(json, "bootId", audit->boot_id);
	put_string(json, "type", types[record->type].name);
	put_string(json, "message", record->message);
	put_string(json, "grant", record->grant);
	put_string(json, "subject", record->subject);
	put_string(json, "source", record->source);
	if (record->port)
		json_object_set_new(json, "port", json_integer(record->port));
	put_string(json, "protocol", record->protocol);
	put_string(json, "reason", record->reason);
	put_string(json, "code", record->code);
	if (record->details)
		json_object_set_new(json, "details", record->details);
	return json;
}

/* A field of the journal's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): the form
 * with a length, which takes any text. */
static void put_field(FILE *stream, const char *name, const char *value)
{
	uint64_t n_le;

	if (!value)
		return;
	n_le = htole64(strlen(value));
	fprintf(stream, "%s\n", name);
	fwrite(&n_le, sizeof(n_le), 1, stream);
	fprintf(stream, "%s\n", value);
}

static void put_number(FILE *stream, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%ju", (uintmax_t)value);
	put_field(stream, name, text);
}

/*
 * Not through sd_journal_send(): that waits where the journal's queue is full, and no peer may hold
 * up the gate. What does not fit is counted, and told with the next record that does; the file has
 * it in any case.
 */
static void audit_send_to_journal(struct audit *audit, const struct audit_record *record)
{
	static const struct sockaddr_un journal = {
		.sun_family = AF_UNIX,
		.sun_path = "/run/systemd/journal/socket",
	};
	_cleanup_(freep) char *message = NULL;
	size_t n = 0;
	FILE *stream = open_memstream(&message, &n);

	if (!stream)
		return;
	put_field(stream, "MESSAGE", record->message);
	put_field(stream, "MESSAGE_ID", types[record->type].message_id);
	put_number(stream, "PRIORITY", types[record->type].priority);
	put_field(stream, "SYSLOG_IDENTIFIER", "jitgated");
	put_number(stream, "JITGATE_SEQUENCE", audit->sequence);
	put_field(stream, "JITGATE_TYPE", types[record->type].name);
	put_field(stream, "JITGATE_GRANT", record->grant);
	put_field(stream, "JITGATE_SUBJECT", record->subject);
	put_field(stream, "JITGATE_SOURCE", record->source);
	if (record->port)
		put_number(stream, "JITGATE_PORT", record->port);
	put_field(stream, "JITGATE_PROTOCOL", record->protocol);
	put_field(stream, "JITGATE_REASON", record->reason);
	put_field(stream, "JITGATE_CODE", record->code);
	if (audit->n_unsent > 0)
		put_number(stream, "JITGATE_RECORDS_LOST", audit->n_unsent);
	if (fclose(stream) != 0 || audit->journal_fd < 0)
		return;
	if (sendto(audit->journal_fd, message, n, MSG_DONTWAIT | MSG_NOSIGNAL,
		    (const struct sockaddr *)&journal, sizeof(journal)) >= 0)
		audit->n_unsent = 0;
	else if (errno != ENOENT && errno != ECONNREFUSED) /* no journal here */
		audit->n_unsent++;
}

void audit_write(struct audit *audit, const struct audit_record *record)
{
	json_auto_t *json = NULL;

	audit->sequence++;
	audit_sequence_reserve(&audit->numbers, audit->sequence);
	json = audit_to_json(audit, record, clock_realtime_usec());
	audit_sequence_logged(
		&audit->numbers, audit->sequence, audit_file_append(&audit->file, json) == 0);
	audit_send_to_journal(audit, record);
	if (audit->listener)
		audit->listener(json, audit->userdata);
}
