/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Each section has a table of its keys: a name, a function that reads the value, and the field it
 * fills. The functions say what is wrong through reader_fail(), which puts file and line in front.
 */

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/un.h>
#include <systemd/sd-id128.h>

#include "agent/common/config.h"
#include "agent/common/file.h"
#include "agent/common/inifile.h"
#include "agent/common/text.h"
#include "agent/common/times.h"

#define VM_ID_MAX 512
#define PORT_NAME_MAX 64
#define DIRECTORY_MAX 1024
#define MAX_GRANTS_MAX 100000
#define DURATION_DEFAULT (INT64_C(3) * 3600)
#define DURATION_MIN INT64_C(60)

struct reader {
	const char *path;
	struct inifile file;
	struct config *config;
	const struct section *section; /* NULL before the first */
	unsigned section_line;
	bool saw_agent;
	unsigned seen; /* keys of this section, a bit each */
	char *error;
};

struct key {
	const char *name;
	int (*read)(struct reader *reader, const struct key *key, const char *value, void *field);
	size_t offset;
};

struct section {
	const char *name;
	const struct key *keys;
	size_t n_keys;
};

static _printf_(3, 0) int error_format_v(
	struct reader *reader, unsigned line, const char *format, va_list arguments)
{
	_cleanup_(freep) char *reason = NULL;
	int n;

	if (vasprintf(&reason, format, arguments) < 0) {
		reason = NULL;
		return -ENOMEM;
	}
	if (line > 0)
		n = asprintf(&reader->error, "%s:%u: %s", reader->path, line, reason);
	else
		n = asprintf(&reader->error, "%s: %s", reader->path, reason);
	if (n < 0) {
		reader->error = NULL;
		return -ENOMEM;
	}
	text_make_printable(reader->error);
	return -EINVAL;
}

/* Notes what is wrong with the line that is being read. Returns -EINVAL. */
static _printf_(2, 3) int reader_fail(struct reader *reader, const char *format, ...)
{
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = error_format_v(reader, reader->file.line, format, arguments);
	va_end(arguments);
	return r;
}

/* The same for another line, or for the file (0). */
static _printf_(3, 4) int reader_fail_at(
	struct reader *reader, unsigned line, const char *format, ...)
{
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = error_format_v(reader, line, format, arguments);
	va_end(arguments);
	return r;
}

static int string_set(char **field, const char *value)
{
	*field = strdup(value);
	return *field ? 0 : -ENOMEM;
}

static int key_read_vm_id(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	if (*value == '\0' || strlen(value) > VM_ID_MAX || strpbrk(value, " \t"))
		return reader_fail(
			reader, "%s must be 1 to %d bytes without spaces", key->name, VM_ID_MAX);
	return string_set(field, value);
}

static int key_read_path(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	if (value[0] != '/')
		return reader_fail(
			reader, "%s must be an absolute path, not \"%s\"", key->name, value);
	if (strlen(value) > DIRECTORY_MAX)
		return reader_fail(reader, "%s is longer than %d bytes", key->name, DIRECTORY_MAX);
	return string_set(field, value);
}

static int key_read_socket(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	size_t n_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (strlen(value) > n_max)
		return reader_fail(reader,
			"%s is longer than the %zu bytes that a socket's path "
			"may have",
			key->name, n_max);
	return key_read_path(reader, key, value, field);
}

static int key_read_mode(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	enum gate_mode *mode = field;

	if (strcmp(value, "enforce") == 0)
		*mode = MODE_ENFORCE;
	else if (strcmp(value, "audit") == 0)
		*mode = MODE_AUDIT;
	else
		return reader_fail(
			reader, "%s must be enforce or audit, not \"%s\"", key->name, value);
	return 0;
}

static int key_read_on_stop(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	enum on_stop *on_stop = field;

	if (strcmp(value, "keep") == 0)
		*on_stop = ON_STOP_KEEP;
	else if (strcmp(value, "remove") == 0)
		*on_stop = ON_STOP_REMOVE;
	else
		return reader_fail(
			reader, "%s must be keep or remove, not \"%s\"", key->name, value);
	return 0;
}

static int key_read_destination_nat(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	enum destination_nat *destination_nat = field;

	if (strcmp(value, "auto") == 0)
		*destination_nat = DESTINATION_NAT_AUTO;
	else if (strcmp(value, "yes") == 0)
		*destination_nat = DESTINATION_NAT_YES;
	else if (strcmp(value, "no") == 0)
		*destination_nat = DESTINATION_NAT_NO;
	else
		return reader_fail(
			reader, "%s must be auto, yes or no, not \"%s\"", key->name, value);
	return 0;
}

static int key_read_max_grants(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	size_t n = strspn(value, "0123456789");
	uint64_t *max_grants = field;
	unsigned long number = 0;

	if (n > 0 && n <= 6 && value[n] == '\0')
		number = strtoul(value, NULL, 10);
	if (number < 1 || number > MAX_GRANTS_MAX)
		return reader_fail(reader, "%s must be a number from 1 to %d, not \"%s\"",
			key->name, MAX_GRANTS_MAX, value);
	*max_grants = number;
	return 0;
}

static int key_read_number(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	if (port_range_parse(value, field) < 0)
		return reader_fail(reader,
			"%s must be a port from 1 to 65535 or a range as 5000-5010, not \"%s\"",
			key->name, value);
	return 0;
}

static int key_read_protocol(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	if (protocol_parse(value, field) < 0)
		return reader_fail(
			reader, "%s must be TCP, UDP or *, not \"%s\"", key->name, value);
	return 0;
}

static int key_read_duration(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	int64_t *duration = field;

	if (duration_parse(value, duration) < 0 || *duration < DURATION_MIN)
		return reader_fail(reader,
			"%s must be an ISO 8601 duration from PT1M to P366D, as PT3H, not \"%s\"",
			key->name, value);
	return 0;
}

static int key_read_on_expiry(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	enum sessions_action *on_expiry = field;

	if (strcmp(value, "keep") == 0)
		*on_expiry = SESSIONS_KEEP;
	else if (strcmp(value, "kill") == 0)
		*on_expiry = SESSIONS_KILL;
	else
		return reader_fail(reader, "%s must be keep or kill, not \"%s\"", key->name, value);
	return 0;
}

/* Reads prefixes with spaces or commas between them. */
static int prefixes_read(struct reader *reader, const struct key *key, const char *value,
	struct prefix **ret, size_t *ret_n)
{
	_cleanup_(freep) struct prefix *prefixes = NULL;
	_cleanup_(freep) char *copy = strdup(value);
	char *word, *rest = NULL;
	size_t n = 0;

	prefixes = calloc(DOCUMENT_PREFIXES_MAX, sizeof(*prefixes));
	if (!copy || !prefixes)
		return -ENOMEM;
	for (word = strtok_r(copy, " \t,", &rest); word; word = strtok_r(NULL, " \t,", &rest)) {
		const char *reason;

		if (n == DOCUMENT_PREFIXES_MAX)
			return reader_fail(reader, "%s has more than %d prefixes", key->name,
				DOCUMENT_PREFIXES_MAX);
		reason = prefix_parse_reason(word, &prefixes[n++]);
		if (reason)
			return reader_fail(reader, "%s: \"%.64s\" %s", key->name, word, reason);
	}
	free(*ret);
	*ret = TAKE_PTR(prefixes);
	*ret_n = n;
	return 0;
}

static int key_read_allowed(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	struct document_port *rule = field;
	int r;

	r = prefixes_read(reader, key, value, &rule->prefixes, &rule->n_prefixes);
	if (r < 0)
		return r;
	if (rule->n_prefixes == 0)
		return reader_fail(
			reader, "%s must have a prefix: * allows every source", key->name);
	return 0;
}

static int key_read_always_allow(
	struct reader *reader, const struct key *key, const char *value, void *field)
{
	struct config_port *port = field;

	return prefixes_read(reader, key, value, &port->always_allow, &port->n_always_allow);
}

#define AGENT(field) offsetof(struct config, field)
#define PORT(field) offsetof(struct config_port, field)

static const struct key agent_keys[] = {
	{ "vm_id", key_read_vm_id, AGENT(vm_id) },
	{ "mode", key_read_mode, AGENT(mode) },
	{ "trust", key_read_path, AGENT(trust) },
	{ "state_directory", key_read_path, AGENT(state_directory) },
	{ "runtime_directory", key_read_path, AGENT(runtime_directory) },
	{ "log_directory", key_read_path, AGENT(log_directory) },
	{ "socket", key_read_socket, AGENT(socket) },
	{ "on_stop", key_read_on_stop, AGENT(on_stop) },
	{ "destination_nat", key_read_destination_nat, AGENT(destination_nat) },
	{ "max_grants", key_read_max_grants, AGENT(max_grants) },
};

static const struct key port_keys[] = {
	{ "number", key_read_number, PORT(rule.ports) },
	{ "protocol", key_read_protocol, PORT(rule.protocols) },
	{ "allowed_source_address_prefixes", key_read_allowed, PORT(rule) },
	{ "max_request_access_duration", key_read_duration, PORT(rule.max_duration) },
	{ "always_allow", key_read_always_allow, 0 },
	{ "on_expiry", key_read_on_expiry, PORT(on_expiry) },
};

static const struct section agent_section = { "[agent]", agent_keys, N_ELEMENTS(agent_keys) };
static const struct section port_section = { "[port]", port_keys, N_ELEMENTS(port_keys) };

/* What the keys of this section fill. */
static void *reader_target(struct reader *reader)
{
	struct config *config = reader->config;

	return reader->section == &port_section ? (void *)&config->ports[config->n_ports - 1]
						: (void *)config;
}

static int section_end(struct reader *reader)
{
	const struct config_port *port;

	if (reader->section != &port_section)
		return 0;
	port = reader_target(reader);
	if (port->rule.ports.first == 0)
		return reader_fail_at(
			reader, reader->section_line, "[port %s] has no number", port->name);
	return 0;
}

static bool port_name_is_valid(const char *name)
{
	size_t n =
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	return n >= 1 && n <= PORT_NAME_MAX && name[n] == '\0';
}

static int section_begin_port(struct reader *reader, const char *name)
{
	struct config *config = reader->config;
	struct config_port *port;

	if (!port_name_is_valid(name))
		return reader_fail(reader,
			"a port's name is 1 to %d letters, digits and . _ -, as in [port ssh]",
			PORT_NAME_MAX);
	for (size_t i = 0; i < config->n_ports; i++)
		if (strcmp(config->ports[i].name, name) == 0)
			return reader_fail(reader, "[port %s] is there twice", name);
	if (config->n_ports == CONFIG_PORTS_MAX)
		return reader_fail(reader, "more than %d [port] sections", CONFIG_PORTS_MAX);

	/* Counted before it is whole, so that config_free() sees it. */
	port = &config->ports[config->n_ports++];
	port->rule.protocols = PROTOCOL_TCP;
	port->rule.max_duration = DURATION_DEFAULT;
	port->on_expiry = SESSIONS_KEEP;
	port->name = strdup(name);
	port->rule.prefixes = calloc(1, sizeof(*port->rule.prefixes));
	if (!port->name || !port->rule.prefixes)
		return -ENOMEM;
	port->rule.n_prefixes = 1; /* zeros are "*" */
	reader->section = &port_section;
	return 0;
}

static int section_begin(struct reader *reader, const char *name)
{
	int r;

	r = section_end(reader);
	if (r < 0)
		return r;
	reader->section_line = reader->file.line;
	reader->seen = 0;
	if (strcmp(name, "agent") == 0) {
		if (reader->saw_agent)
			return reader_fail(reader, "[agent] is there twice");
		reader->saw_agent = true;
		reader->section = &agent_section;
		return 0;
	}
	if (strcmp(name, "port") == 0)
		return reader_fail(reader, "a [port] needs a name, as in [port ssh]");
	if (strncmp(name, "port ", 5) == 0 || strncmp(name, "port\t", 5) == 0)
		return section_begin_port(reader, name + 5 + strspn(name + 5, " \t"));
	return reader_fail(
		reader, "there is no section [%s]: there are [agent] and [port NAME]", name);
}

/* The names of a section's keys, as a sentence has them. */
static char *keys_format(const struct section *section)
{
	char *text = NULL;
	size_t n_bytes;
	FILE *stream = open_memstream(&text, &n_bytes);

	if (!stream)
		return NULL;
	for (size_t i = 0; i < section->n_keys; i++)
		fprintf(stream, "%s%s", i == 0 ? "" : ", ", section->keys[i].name);
	if (fclose(stream) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static int entry_read(struct reader *reader, const char *name, const char *value)
{
	_cleanup_(freep) char *names = NULL;

	if (!reader->section)
		return reader_fail(
			reader, "\"%s\" stands before any section: put it below [agent]", name);
	for (size_t i = 0; i < reader->section->n_keys; i++) {
		const struct key *key = &reader->section->keys[i];

		if (strcmp(key->name, name) != 0)
			continue;
		if (reader->seen & 1U << i)
			return reader_fail(reader, "%s is given twice in this section", name);
		reader->seen |= 1U << i;
		return key->read(reader, key, value, (char *)reader_target(reader) + key->offset);
	}
	names = keys_format(reader->section);
	if (!names)
		return -ENOMEM;
	return reader_fail(reader, "%s has no key \"%s\": its keys are %s", reader->section->name,
		name, names);
}

/* An id that is this machine's, and gives the machine's own id away to nobody. */
static int vm_id_from_machine(struct reader *reader, char **ret)
{
	static const sd_id128_t application =
		SD_ID128_MAKE(0b, 40, 4b, 65, 9c, f4, 4c, 18, 8e, 93, ad, d2, e5, 5d, a9, f6);
	char text[SD_ID128_STRING_MAX];
	sd_id128_t id;
	int r;

	r = sd_id128_get_machine_app_specific(application, &id);
	if (r < 0)
		return reader_fail_at(reader, 0,
			"vm_id is not set, and there is no /etc/machine-id to make one from (%s)",
			strerror(-r));
	return string_set(ret, sd_id128_to_string(id, text));
}

static int path_set_default(char **field, const char *path)
{
	return *field ? 0 : string_set(field, path);
}

static int socket_set_default(struct reader *reader)
{
	struct config *config = reader->config;
	size_t n_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (config->socket)
		return 0;
	if (asprintf(&config->socket, "%s/agent.sock", config->runtime_directory) < 0) {
		config->socket = NULL;
		return -ENOMEM;
	}
	if (strlen(config->socket) > n_max)
		return reader_fail_at(reader, 0,
			"runtime_directory is too long for a socket in it: set socket to a path of "
			"at most %zu bytes",
			n_max);
	return 0;
}

static int config_set_defaults(struct reader *reader)
{
	struct config *config = reader->config;

	if (path_set_default(&config->trust, "/etc/jitgate/trust.jwks") < 0 ||
		path_set_default(&config->state_directory, "/var/lib/jitgate") < 0 ||
		path_set_default(&config->runtime_directory, "/run/jitgate") < 0 ||
		path_set_default(&config->log_directory, "/var/log/jitgate") < 0)
		return -ENOMEM;
	if (!config->vm_id) {
		int r = vm_id_from_machine(reader, &config->vm_id);

		if (r < 0)
			return r;
	}
	return socket_set_default(reader);
}

static int config_read(struct reader *reader)
{
	const char *reason;
	char *name, *value;
	int r;

	while ((r = inifile_next(&reader->file, &name, &value, &reason)) > 0) {
		if (r == INIFILE_SECTION)
			r = section_begin(reader, name);
		else
			r = entry_read(reader, name, value);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return reader_fail(reader, "%s", reason);
	r = section_end(reader);
	return r < 0 ? r : config_set_defaults(reader);
}

static int config_new(struct config **ret)
{
	_cleanup_(config_freep) struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return -ENOMEM;
	config->max_grants = 10000;
	config->ports = calloc(CONFIG_PORTS_MAX, sizeof(*config->ports));
	if (!config->ports)
		return -ENOMEM;
	*ret = TAKE_PTR(config);
	return 0;
}

static int reader_load(struct reader *reader, char **ret_text)
{
	size_t n_bytes;
	int r;

	r = file_read(reader->path, CONFIG_FILE_BYTES_MAX, ret_text, &n_bytes);
	if (r == -EFBIG)
		return reader_fail_at(
			reader, 0, "longer than %d KiB", CONFIG_FILE_BYTES_MAX / 1024);
	if (r == -EINVAL)
		return reader_fail_at(reader, 0, "not a regular file");
	if (r < 0) {
		reader_fail_at(reader, 0, "%s", strerror(-r));
		return r;
	}
	if (strlen(*ret_text) != n_bytes)
		return reader_fail_at(reader, 0, "the file has a NUL byte");
	return 0;
}

int config_load(const char *path, struct config **ret, char **ret_error)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *text = NULL;
	struct reader reader = { .path = path };
	int r;

	*ret_error = NULL;
	r = config_new(&config);
	if (r < 0)
		return r;
	reader.config = config;
	r = reader_load(&reader, &text);
	if (r == 0) {
		reader.file.rest = text;
		r = config_read(&reader);
	}
	*ret_error = reader.error;
	if (r < 0)
		return r;
	*ret = TAKE_PTR(config);
	return 0;
}

struct config *config_free(struct config *config)
{
	if (!config)
		return NULL;
	for (size_t i = 0; i < config->n_ports; i++) {
		free(config->ports[i].name);
		free(config->ports[i].rule.prefixes);
		free(config->ports[i].always_allow);
	}
	free(config->ports);
	free(config->vm_id);
	free(config->trust);
	free(config->state_directory);
	free(config->runtime_directory);
	free(config->log_directory);
	free(config->socket);
	free(config);
	return NULL;
}
