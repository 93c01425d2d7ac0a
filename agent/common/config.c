/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The tables of agent.conf. */

#include <errno.h>
#include <string.h>
#include <sys/un.h>
#include <systemd/sd-id128.h>

#include "agent/common/config.h"
#include "agent/common/settings.h"
#include "agent/common/url.h"

#define VM_ID_MAX 512
#define MAX_GRANTS_MAX 100000
#define LOG_BYTES_MIN (64 * 1024)
#define LOG_BYTES_MAX (INT64_C(16) * 1024 * 1024 * 1024)
#define LOG_BYTES_DEFAULT (64 * 1024 * 1024)
#define WAIT_DEFAULT 50
#define WAIT_MAX 300
#define INTERVAL_DEFAULT 60
#define INTERVAL_MAX (24 * 3600)
#define DURATION_DEFAULT (INT64_C(3) * 3600)
#define DURATION_MIN INT64_C(60)

static int read_vm_id(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	if (*value == '\0' || strlen(value) > VM_ID_MAX || strpbrk(value, " \t"))
		return settings_fail(
			settings, "%s must be 1 to %d bytes without spaces", key->name, VM_ID_MAX);
	return settings_set_string(field, value);
}

static int read_ports(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	if (port_range_parse(value, field) < 0)
		return settings_fail(settings,
			"%s must be a port from 1 to 65535 or a range as 5000-5010, not \"%s\"",
			key->name, value);
	return 0;
}

static int read_protocol(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	if (protocol_parse(value, field) < 0)
		return settings_fail(
			settings, "%s must be TCP, UDP or *, not \"%s\"", key->name, value);
	return 0;
}

static int read_allowed(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	struct document_port *rule = field;
	int r;

	r = settings_prefixes(settings, key, value, &rule->prefixes, &rule->n_prefixes);
	if (r < 0)
		return r;
	if (rule->n_prefixes == 0)
		return settings_fail(
			settings, "%s must have a prefix: * allows every source", key->name);
	return 0;
}

static int read_always_allow(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	struct config_port *port = field;

	return settings_prefixes(settings, key, value, &port->always_allow, &port->n_always_allow);
}

static int read_url(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	const char *reason = url_reason(value);

	if (reason)
		return settings_fail(settings, "%s: \"%.128s\" %s", key->name, value, reason);
	return settings_set_string(field, value);
}

static const struct settings_choice modes[] = {
	{ "enforce", MODE_ENFORCE },
	{ "audit", MODE_AUDIT },
	{},
};

const char *config_mode_name(enum gate_mode mode)
{
	return mode == MODE_AUDIT ? "audit" : "enforce";
}

static const struct settings_choice on_stop_choices[] = {
	{ "keep", ON_STOP_KEEP },
	{ "remove", ON_STOP_REMOVE },
	{},
};

static const struct settings_choice destination_nat_choices[] = {
	{ "auto", DESTINATION_NAT_AUTO },
	{ "yes", DESTINATION_NAT_YES },
	{ "no", DESTINATION_NAT_NO },
	{},
};

static const struct settings_choice on_expiry_choices[] = {
	{ "keep", SESSIONS_KEEP },
	{ "kill", SESSIONS_KILL },
	{},
};

static const struct settings_choice feed_kinds[] = {
	{ "poll", FEED_POLL },
	{ "static", FEED_STATIC },
	{},
};

#define AGENT(field) .offset = offsetof(struct config, field)
#define PORT(field) .offset = offsetof(struct config_port, field)

static const struct settings_key agent_keys[] = {
	{ "vm_id", read_vm_id, AGENT(vm_id) },
	{ "mode", settings_read_choice, AGENT(mode), .choices = modes },
	{ "trust", settings_read_path, AGENT(trust) },
	{ "state_directory", settings_read_path, AGENT(state_directory) },
	{ "runtime_directory", settings_read_path, AGENT(runtime_directory) },
	{ "log_directory", settings_read_path, AGENT(log_directory) },
	{ "socket", settings_read_socket, AGENT(socket) },
	{ "on_stop", settings_read_choice, AGENT(on_stop), .choices = on_stop_choices },
	{ "destination_nat", settings_read_choice, AGENT(destination_nat),
		.choices = destination_nat_choices },
	{ "max_grants", settings_read_number, AGENT(max_grants), .min = 1, .max = MAX_GRANTS_MAX },
	{ "log_bytes_max", settings_read_bytes, AGENT(log_bytes_max), .min = LOG_BYTES_MIN,
		.max = LOG_BYTES_MAX },
};

static const struct settings_key port_keys[] = {
	{ "number", read_ports, PORT(rule.ports), .required = true },
	{ "protocol", read_protocol, PORT(rule.protocols) },
	{ "allowed_source_address_prefixes", read_allowed, PORT(rule) },
	{ "max_request_access_duration", settings_read_duration, PORT(rule.max_duration),
		.min = DURATION_MIN },
	{ "always_allow", read_always_allow, .offset = 0 },
	{ "on_expiry", settings_read_choice, PORT(on_expiry), .choices = on_expiry_choices },
};

static const struct settings_key feed_keys[] = {
	{ "url", read_url, AGENT(feed.url) },
	{ "kind", settings_read_choice, AGENT(feed.kind), .choices = feed_kinds },
	{ "wait", settings_read_duration, AGENT(feed.wait), .min = 1, .max = WAIT_MAX },
	{ "interval", settings_read_duration, AGENT(feed.interval), .min = 1, .max = INTERVAL_MAX },
	{ "ca", settings_read_path, AGENT(feed.ca) },
	{ "certificate", settings_read_path, AGENT(feed.certificate) },
	{ "key", settings_read_path, AGENT(feed.key) },
	{ "token", settings_read_path, AGENT(feed.token) },
	{ "state_directory", settings_read_path, AGENT(feed.state_directory) },
};

static int feed_end(struct settings *settings, void *filled)
{
	struct config_feed *feed = &((struct config *)filled)->feed;

	if (!feed->certificate != !feed->key)
		return settings_fail_section(settings,
			"[feed] has %s without %s: a client certificate takes both",
			feed->certificate ? "certificate" : "key",
			feed->certificate ? "key" : "certificate");
	if (feed->url && feed->kind == FEED_POLL && strchr(feed->url, '?'))
		return settings_fail_section(settings,
			"[feed] has a url with a query (\"?\"), which only kind = static may have");
	if (!feed->url)
		return 0;
	/* What is put behind it begins with "/"; a file's is its own. */
	for (size_t n = strlen(feed->url);
		feed->kind == FEED_POLL && n > 0 && feed->url[n - 1] == '/'; n--)
		feed->url[n - 1] = '\0';
	feed->shown_url = strndup(feed->url, strcspn(feed->url, "?"));
	return feed->shown_url ? 0 : -ENOMEM;
}

static int port_begin(struct settings *settings, const char *name, void *target, void **ret)
{
	struct config *config = target;
	/* Counted before it is whole, so that config_free() sees it. */
	struct config_port *port = &config->ports[config->n_ports++];

	(void)settings;
	port->rule.protocols = PROTOCOL_TCP;
	port->rule.max_duration = DURATION_DEFAULT;
	port->on_expiry = SESSIONS_KEEP;
	port->name = strdup(name);
	port->rule.prefixes = calloc(1, sizeof(*port->rule.prefixes));
	if (!port->name || !port->rule.prefixes)
		return -ENOMEM;
	port->rule.n_prefixes = 1; /* zeros are "*" */
	*ret = port;
	return 0;
}

static const struct settings_section sections[] = {
	{ .name = "agent", .keys = agent_keys, .n_keys = N_ELEMENTS(agent_keys) },
	{ .name = "feed", .keys = feed_keys, .n_keys = N_ELEMENTS(feed_keys), .end = feed_end },
	{ .name = "port",
		.keys = port_keys,
		.n_keys = N_ELEMENTS(port_keys),
		.begin = port_begin,
		.n_max = CONFIG_PORTS_MAX,
		.example = "ssh" },
};

/* An id that is this machine's, and gives the machine's own id away to nobody. */
static int vm_id_from_machine(struct settings *settings, char **ret)
{
	static const sd_id128_t application =
		SD_ID128_MAKE(0b, 40, 4b, 65, 9c, f4, 4c, 18, 8e, 93, ad, d2, e5, 5d, a9, f6);
	char text[SD_ID128_STRING_MAX];
	sd_id128_t id;
	int r;

	r = sd_id128_get_machine_app_specific(application, &id);
	if (r < 0)
		return settings_fail_file(settings,
			"vm_id is not set, and there is no /etc/machine-id to make one from (%s)",
			strerror(-r));
	return settings_set_string(ret, sd_id128_to_string(id, text));
}

static int socket_set_default(struct settings *settings, struct config *config)
{
	size_t n_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (config->socket)
		return 0;
	if (asprintf(&config->socket, "%s/agent.sock", config->runtime_directory) < 0) {
		config->socket = NULL;
		return -ENOMEM;
	}
	if (strlen(config->socket) > n_max)
		return settings_fail_file(settings,
			"runtime_directory is too long for a socket in it: set socket to a path of "
			"at most %zu bytes",
			n_max);
	return 0;
}

static int set_defaults(struct settings *settings, void *target)
{
	struct config *config = target;

	if (settings_set_default(&config->trust, "/etc/jitgate/trust.jwks") < 0 ||
		settings_set_default(&config->state_directory, CONFIG_STATE_DIRECTORY) < 0 ||
		settings_set_default(&config->runtime_directory, CONFIG_RUNTIME_DIRECTORY) < 0 ||
		settings_set_default(&config->log_directory, CONFIG_LOG_DIRECTORY) < 0 ||
		settings_set_default(&config->feed.state_directory, "/var/lib/jitgate-poll") < 0)
		return -ENOMEM;
	if (!config->vm_id) {
		int r = vm_id_from_machine(settings, &config->vm_id);

		if (r < 0)
			return r;
	}
	return socket_set_default(settings, config);
}

static const struct settings_format format = {
	.sections = sections,
	.n_sections = N_ELEMENTS(sections),
	.end = set_defaults,
};

static int config_new(struct config **ret)
{
	_cleanup_(config_freep) struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return -ENOMEM;
	config->max_grants = 10000;
	config->log_bytes_max = LOG_BYTES_DEFAULT;
	config->feed.wait = WAIT_DEFAULT;
	config->feed.interval = INTERVAL_DEFAULT;
	config->ports = calloc(CONFIG_PORTS_MAX, sizeof(*config->ports));
	if (!config->ports)
		return -ENOMEM;
	*ret = TAKE_PTR(config);
	return 0;
}

int config_parse(
	const char *path, const char *text, bool lenient, struct config **ret, char **ret_error)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *parsed = strdup(text);
	int r;

	*ret_error = NULL;
	r = config_new(&config);
	if (r == 0)
		r = settings_set_string(&config->text, text);
	if (r == 0)
		r = parsed ? settings_parse(path, parsed, lenient, &format, config, ret_error)
			   : -ENOMEM;
	if (r < 0)
		return r;
	*ret = TAKE_PTR(config);
	return 0;
}

int config_load(const char *path, struct config **ret, char **ret_error)
{
	_cleanup_(freep) char *text = NULL;
	int r;

	r = settings_read(path, &text, ret_error);
	return r < 0 ? r : config_parse(path, text, false, ret, ret_error);
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
	free(config->text);
	free(config->vm_id);
	free(config->trust);
	free(config->state_directory);
	free(config->runtime_directory);
	free(config->log_directory);
	free(config->socket);
	free(config->feed.url);
	free(config->feed.shown_url);
	free(config->feed.ca);
	free(config->feed.certificate);
	free(config->feed.key);
	free(config->feed.token);
	free(config->feed.state_directory);
	free(config);
	return NULL;
}
