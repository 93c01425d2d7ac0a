/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The configuration. */

#include "agent/common/config.h"
#include "agent/common/settings.h"
#include "agent/common/times.h"
#include "tests/fuzz/fuzz.h"

static void write_prefixes(
	FILE *file, const char *key, const struct prefix *prefixes, size_t n_prefixes)
{
	char text[PREFIX_STRING_MAX];

	CHECK(n_prefixes <= SETTINGS_PREFIXES_MAX);
	fprintf(file, "%s =", key);
	for (size_t i = 0; i < n_prefixes; i++)
		fprintf(file, " %s", prefix_format(&prefixes[i], text));
	fputc('\n', file);
}

static void write_port(FILE *file, const struct config_port *port)
{
	char duration[TIME_STRING_MAX];

	CHECK(port->rule.n_prefixes >= 1);
	fprintf(file,
		"[port %s]\nnumber = %u-%u\nprotocol = %s\nmax_request_access_duration = %s\n"
		"on_expiry = %s\n",
		port->name, port->rule.ports.first, port->rule.ports.last,
		protocol_format(port->rule.protocols),
		duration_format(port->rule.max_duration, duration),
		port->on_expiry == SESSIONS_KILL ? "kill" : "keep");
	write_prefixes(file, "allowed_source_address_prefixes", port->rule.prefixes,
		port->rule.n_prefixes);
	write_prefixes(file, "always_allow", port->always_allow, port->n_always_allow);
}

static char *config_write(const struct config *config, size_t *ret_bytes)
{
	static const char *const modes[] = { "enforce", "audit" };
	static const char *const stops[] = { "keep", "remove" };
	static const char *const nats[] = { "auto", "yes", "no" };
	char *text;
	FILE *file = open_memstream(&text, ret_bytes);

	CHECK(config->n_ports <= CONFIG_PORTS_MAX);
	fprintf(file,
		"[agent]\nvm_id = %s\nmode = %s\ntrust = %s\nstate_directory = %s\n"
		"runtime_directory = %s\nlog_directory = %s\nsocket = %s\non_stop = %s\n"
		"destination_nat = %s\nmax_grants = %llu\n",
		config->vm_id, modes[config->mode], config->trust, config->state_directory,
		config->runtime_directory, config->log_directory, config->socket,
		stops[config->on_stop], nats[config->destination_nat],
		(unsigned long long)config->max_grants);
	for (size_t i = 0; i < config->n_ports; i++)
		write_port(file, &config->ports[i]);
	fclose(file);
	return text;
}

/* At most what a line, and the file's name, may hold; with room for the rest of the sentence. */
#define ERROR_BYTES_MAX (2 * 8192)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *path = scratch_file("agent.conf", data, size), *error = NULL,
			      *first = NULL, *second = NULL, *copy = NULL;
	_cleanup_(config_freep) struct config *config = NULL, *again = NULL;
	size_t n_first, n_second;

	if (config_load(path, &config, &error) != 0) {
		check_message(error);
		CHECK(strncmp(error, path, strlen(path)) == 0);
		CHECK(strlen(error) < ERROR_BYTES_MAX);
		return 0;
	}
	CHECK(!error);
	first = config_write(config, &n_first);
	copy = scratch_file("again.conf", first, n_first);
	CHECK(config_load(copy, &again, &error) == 0);
	second = config_write(again, &n_second);
	check_same_text(first, second);
	return 0;
}
