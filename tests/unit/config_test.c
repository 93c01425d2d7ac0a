/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <ctype.h>
#include <string.h>
#include <cmocka.h>

#include "agent/common/config.h"
#include "agent/common/settings.h"

static char directory[] = "/tmp/config-test-XXXXXX";
static char path[64];

static int directory_setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/agent.conf", directory);
	return 0;
}

static int directory_teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static int load_bytes(const char *text, size_t n_bytes, struct config **ret, char **ret_error)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, n_bytes, file), n_bytes);
	assert_int_equal(fclose(file), 0);
	return config_load(path, ret, ret_error);
}

/* A vm_id is given, since not every machine that tests has a machine id. */
#define AGENT "[agent]\nvm_id = web-1\n"

static struct config *load_passes(const char *text)
{
	_cleanup_(freep) char *error = NULL;
	struct config *config = NULL;

	if (load_bytes(text, strlen(text), &config, &error) < 0)
		fail_msg("%s", error);
	assert_null(error);
	return config;
}

/* expected is what stands behind the path: ":3: what is wrong", or the beginning of it. */
static void assert_error_bytes(const char *text, size_t n_bytes, const char *expected)
{
	_cleanup_(freep) char *error = NULL;
	struct config *config = NULL;

	if (load_bytes(text, n_bytes, &config, &error) != -EINVAL)
		fail_msg("passes: %s", text);
	assert_null(config);
	assert_non_null(error);
	assert_memory_equal(error, path, strlen(path));
	if (strncmp(error + strlen(path), expected, strlen(expected)) != 0)
		fail_msg("\"%s\" instead of \"%s\"", error + strlen(path), expected);
}

static void assert_error(const char *text, const char *expected)
{
	assert_error_bytes(text, strlen(text), expected);
}

static void what_is_left_out_has_its_default(void **state)
{
	_cleanup_(config_freep) struct config *config =
		load_passes(AGENT "[port ssh]\nnumber = 22\n");
	const struct config_port *port = &config->ports[0];

	(void)state;
	assert_string_equal(config->vm_id, "web-1");
	assert_int_equal(config->mode, MODE_ENFORCE);
	assert_string_equal(config->trust, "/etc/jitgate/trust.jwks");
	assert_string_equal(config->state_directory, "/var/lib/jitgate");
	assert_string_equal(config->runtime_directory, "/run/jitgate");
	assert_string_equal(config->log_directory, "/var/log/jitgate");
	assert_string_equal(config->socket, "/run/jitgate/agent.sock");
	assert_int_equal(config->on_stop, ON_STOP_KEEP);
	assert_int_equal(config->destination_nat, DESTINATION_NAT_AUTO);
	assert_int_equal(config->max_grants, 10000);
	assert_int_equal(config->log_bytes_max, 64 * 1024 * 1024);
	assert_null(config->feed.url);
	assert_int_equal(config->feed.kind, FEED_POLL);
	assert_int_equal(config->feed.wait, 50);
	assert_int_equal(config->feed.interval, 60);
	assert_null(config->feed.ca);
	assert_null(config->feed.token);
	assert_string_equal(config->feed.state_directory, "/var/lib/jitgate-poll");
	assert_int_equal(config->n_ports, 1);
	assert_string_equal(port->name, "ssh");
	assert_int_equal(port->rule.ports.first, 22);
	assert_int_equal(port->rule.ports.last, 22);
	assert_int_equal(port->rule.protocols, PROTOCOL_TCP);
	assert_int_equal(port->rule.n_prefixes, 1);
	assert_int_equal(port->rule.prefixes[0].family, AF_UNSPEC);
	assert_int_equal(port->rule.max_duration, 10800);
	assert_int_equal(port->n_always_allow, 0);
	assert_int_equal(port->on_expiry, SESSIONS_KEEP);
}

static void each_key_is_obeyed(void **state)
{
	_cleanup_(config_freep) struct config *config = load_passes(
		"# a comment\n; another\n\n  [agent]  ; the agent\n"
		"vm_id=/subscriptions/s/virtualMachines/web-1;x ; an id\n"
		"\tmode = audit\r\n"
		"trust = /a/trust.jwks\nstate_directory = /a/state\nruntime_directory = /a/run\n"
		"log_directory = /a/log\nsocket = /a/socket\non_stop = remove\n"
		"destination_nat = no\nmax_grants = 100000\n"
		"log_bytes_max = 70000\n[feed]\nurl = https://feed.example:8443/a/\n"
		"kind = static\nwait = PT5S\ninterval = PT2M\nca = /ca\ncertificate = /c\n"
		"key = /k\ntoken = /t\nstate_directory = /s\n"
		"[port ssh]\nnumber = 5000-5010\nprotocol = *\n"
		"allowed_source_address_prefixes = 10.0.0.0/8, 2001:db8::/32,192.0.2.1  ::1\n"
		"max_request_access_duration = P366D\n"
		"always_allow = 10.1.0.0/16\non_expiry = kill\n"
		"[port rdp]\nprotocol = udp\nnumber = 3389\n"
		"max_request_access_duration = PT1M\nalways_allow = ; nobody");

	(void)state;
	assert_string_equal(config->vm_id, "/subscriptions/s/virtualMachines/web-1;x");
	assert_int_equal(config->mode, MODE_AUDIT);
	assert_string_equal(config->trust, "/a/trust.jwks");
	assert_string_equal(config->state_directory, "/a/state");
	assert_string_equal(config->runtime_directory, "/a/run");
	assert_string_equal(config->log_directory, "/a/log");
	assert_string_equal(config->socket, "/a/socket");
	assert_int_equal(config->on_stop, ON_STOP_REMOVE);
	assert_int_equal(config->destination_nat, DESTINATION_NAT_NO);
	assert_int_equal(config->max_grants, 100000);
	assert_int_equal(config->log_bytes_max, 70000);
	assert_string_equal(config->feed.url, "https://feed.example:8443/a/");
	assert_int_equal(config->feed.kind, FEED_STATIC);
	assert_int_equal(config->feed.wait, 5);
	assert_int_equal(config->feed.interval, 120);
	assert_string_equal(config->feed.ca, "/ca");
	assert_string_equal(config->feed.certificate, "/c");
	assert_string_equal(config->feed.key, "/k");
	assert_string_equal(config->feed.token, "/t");
	assert_string_equal(config->feed.state_directory, "/s");
	assert_int_equal(config->n_ports, 2);
	assert_int_equal(config->ports[0].rule.ports.first, 5000);
	assert_int_equal(config->ports[0].rule.ports.last, 5010);
	assert_int_equal(config->ports[0].rule.protocols, PROTOCOL_ANY);
	assert_int_equal(config->ports[0].rule.n_prefixes, 4);
	assert_int_equal(config->ports[0].rule.prefixes[2].length, 32);
	assert_int_equal(config->ports[0].rule.prefixes[3].family, AF_INET6);
	assert_int_equal(config->ports[0].rule.max_duration, INT64_C(366) * 86400);
	assert_int_equal(config->ports[0].n_always_allow, 1);
	assert_int_equal(config->ports[0].always_allow[0].length, 16);
	assert_int_equal(config->ports[0].on_expiry, SESSIONS_KILL);
	assert_string_equal(config->ports[1].name, "rdp");
	assert_int_equal(config->ports[1].rule.protocols, PROTOCOL_UDP);
	assert_int_equal(config->ports[1].rule.max_duration, 60);
	assert_int_equal(config->ports[1].n_always_allow, 0);
	/* A default of one section is not what another set. */
	assert_int_equal(config->ports[1].rule.n_prefixes, 1);
	assert_int_equal(config->ports[1].on_expiry, SESSIONS_KEEP);
}

static void a_file_is_asked_for_by_its_own_url(void **state)
{
	_cleanup_(config_freep) struct config *poll =
		load_passes("[agent]\nvm_id = vm-7\n[feed]\nurl = https://h/a//\nkind = poll\n");
	_cleanup_(config_freep) struct config *file = load_passes(
		"[agent]\nvm_id = vm-7\n[feed]\nkind = static\nurl = https://h/a/?s=b/\n");

	(void)state;
	/* Paths are put behind the one. */
	assert_string_equal(poll->feed.url, "https://h/a");
	assert_string_equal(poll->feed.shown_url, "https://h/a");
	assert_string_equal(file->feed.url, "https://h/a/?s=b/");
	assert_string_equal(file->feed.shown_url, "https://h/a/");
}

static void the_socket_follows_the_runtime_directory(void **state)
{
	_cleanup_(config_freep) struct config *config =
		load_passes(AGENT "runtime_directory = /run/other\n");
	_cleanup_(config_freep) struct config *set =
		load_passes(AGENT "socket = /s\nruntime_directory = /run/other\n");

	(void)state;
	assert_string_equal(config->socket, "/run/other/agent.sock");
	assert_string_equal(set->socket, "/s");
}

static void nothing_is_managed_without_a_port(void **state)
{
	_cleanup_(config_freep) struct config *config = load_passes(AGENT);

	(void)state;
	assert_int_equal(config->n_ports, 0);
}

static void two_sections_may_bound_one_port(void **state)
{
	_cleanup_(config_freep) struct config *config =
		load_passes(AGENT "[port a]\nnumber = 22\n[port b]\nnumber = 20-30\n");

	(void)state;
	assert_int_equal(config->n_ports, 2);
}

static void a_machine_without_a_name_gets_one(void **state)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *error = NULL;
	int r = load_bytes("", 0, &config, &error);

	(void)state;
	if (r < 0) {
		/* This machine has no machine id: then it is told so. */
		assert_non_null(
			strstr(error, ": vm_id is not set, and there is no /etc/machine-id"));
		skip();
	}
	assert_int_equal(strlen(config->vm_id), 32);
	assert_int_equal(strspn(config->vm_id, "0123456789abcdef"), 32);
}

static void a_mistake_is_told_with_its_line(void **state)
{
	static const struct {
		const char *text, *error;
	} mistakes[] = {
		{ "mode = audit\n", ":1: \"mode\" stands before any section" },
		{ "[agent]\n\n# comment\nmod = audit\n",
			":4: [agent] has no key \"mod\": its keys are "
			"vm_id, mode, trust, " },
		{ AGENT "[port ssh]\nport = 22\n",
			":4: [port] has no key \"port\": its keys are number, "
			"protocol, " },
		{ AGENT "Mode = audit\n", ":3: [agent] has no key \"Mode\"" },
		{ AGENT "number = 22\n", ":3: [agent] has no key \"number\"" },
		{ AGENT "[food]\nurl = x\n",
			":3: there is no section [food]: there are [agent], [feed] and "
			"[port NAME]" },
		{ AGENT "[feed]\nurl = x\n", ":4: url: \"x\" does not begin with https://" },
		{ AGENT "[feed]\nurl = http://192.0.2.1\n",
			":4: url: \"http://192.0.2.1\" is http://, which is for loopback" },
		{ AGENT "[feed]\nurl = http://127.0.0.1.example\n", ":4: url: " },
		{ AGENT "[feed]\nurl = https://a:b@c\n", ":4: url: \"https://a:b@c\" has a user" },
		{ AGENT "[feed]\nurl = https://\n", ":4: url: \"https://\" has no host" },
		{ AGENT "[feed]\nurl = https://h/#x\n",
			":4: url: \"https://h/#x\" has a fragment" },
		{ AGENT "[feed]\nurl = https://h:0/\n", ":4: url: \"https://h:0/\" has a port" },
		{ AGENT "[feed]\nurl = https://[::1\n", ":4: url: " },
		{ AGENT "[feed]\nurl = https://h/a b\n", ":4: url: " },
		{ AGENT "\n[feed]\nurl = https://h/?a=b\n", ":4: [feed] has a url with a query" },
		{ AGENT "[feed]\ncertificate = /c\n", ":3: [feed] has certificate without key" },
		{ AGENT "[feed]\nkey = /c\n", ":3: [feed] has key without certificate" },
		{ AGENT "[feed]\nkind = push\n", ":4: kind must be poll or static" },
		{ AGENT "[feed]\nwait = PT6M\n",
			":4: wait must be an ISO 8601 duration from PT1S to PT5M, not \"PT6M\"" },
		{ AGENT "[feed]\ntoken = t\n", ":4: token must be an absolute path" },
		{ AGENT "[feed]\n[feed]\n", ":4: [feed] is there twice" },
		{ AGENT "log_bytes_max = 63K\n",
			":3: log_bytes_max must be bytes from 64K to 16G, with K, M or G behind "
			"the number, not \"63K\"" },
		{ AGENT "log_bytes_max = 1T\n", ":3: log_bytes_max must be" },
		{ AGENT "log_bytes_max = 99999999999999999G\n", ":3: log_bytes_max must be" },
		{ AGENT "[Agent]\n", ":3: there is no section [Agent]" },
		{ AGENT "[]\n", ":3: there is no section []" },
		{ AGENT "[port]\n", ":3: a [port] needs a name, as in [port ssh]" },
		{ AGENT "[port  ]\n", ":3: a [port] needs a name" },
		{ AGENT "[port a b]\n", ":3: a port's name is 1 to 64 letters" },
		{ AGENT "[ports]\n", ":3: there is no section [ports]" },
		{ AGENT "[agent]\n", ":3: [agent] is there twice" },
		{ AGENT "vm_id = web-2\n", ":3: vm_id is given twice in this section" },
		{ AGENT "[port a]\nnumber = 22\nnumber = 22\n", ":5: number is given twice" },
		{ AGENT "[port a]\nnumber = 22\n[port a]\nnumber = 23\n",
			":5: [port a] is there twice" },
		{ AGENT "[port a]\n\n[port b]\nnumber = 22\n", ":3: [port a] has no number" },
		{ AGENT "[port a]\nprotocol = TCP\n\n\n", ":3: [port a] has no number" },
		{ "[agent]\nvm_id =\n", ":2: vm_id must be 1 to 512 bytes without spaces" },
		{ "[agent]\nvm_id = a b\n", ":2: vm_id must be" },
		{ AGENT "mode = observe\n", ":3: mode must be enforce or audit, not \"observe\"" },
		{ AGENT "mode = Enforce\n", ":3: mode must be" },
		{ AGENT "mode = audit # for now\n", ":3: mode must be" },
		{ AGENT "mode\n", ":3: neither a [section], nor key = value, nor a # comment" },
		{ AGENT "= audit\n", ":3: neither" },
		{ AGENT "mode: audit\n", ":3: neither" },
		{ AGENT "[port ssh\nnumber = 22\n", ":3: a section is written as [name]" },
		{ AGENT "[port ssh] number = 22\n", ":3: a section is written as [name]" },
		{ AGENT "trust = trust.jwks\n",
			":3: trust must be an absolute path, not "
			"\"trust.jwks\"" },
		{ AGENT "state_directory = ~/state\n", ":3: state_directory must be an absolute" },
		{ AGENT "runtime_directory =\n", ":3: runtime_directory must be an absolute" },
		{ AGENT "log_directory = ./log\n", ":3: log_directory must be an absolute" },
		{ AGENT "socket = agent.sock\n", ":3: socket must be an absolute path" },
		{ AGENT "socket = @agent\n", ":3: socket must be an absolute path" },
		{ AGENT "on_stop = flush\n", ":3: on_stop must be keep or remove, not \"flush\"" },
		{ AGENT "destination_nat = true\n",
			":3: destination_nat must be auto, yes or no, not "
			"\"true\"" },
		{ AGENT "max_grants = 0\n",
			":3: max_grants must be a number from 1 to 100000, not "
			"\"0\"" },
		{ AGENT "max_grants = 100001\n", ":3: max_grants must be" },
		{ AGENT "max_grants = -1\n", ":3: max_grants must be" },
		{ AGENT "max_grants = 10k\n", ":3: max_grants must be" },
		{ AGENT "max_grants = 18446744073709551617\n", ":3: max_grants must be" },
		{ AGENT "[port a]\nnumber = 0\n",
			":4: number must be a port from 1 to 65535 or a range "
			"as 5000-5010, not \"0\"" },
		{ AGENT "[port a]\nnumber = 22,23\n", ":4: number must be" },
		{ AGENT "[port a]\nnumber = ssh\n", ":4: number must be" },
		{ AGENT "[port a]\nprotocol = SCTP\n",
			":4: protocol must be TCP, UDP or *, not "
			"\"SCTP\"" },
		{ AGENT "[port a]\nallowed_source_address_prefixes =\n",
			":4: allowed_source_address_prefixes must have a prefix" },
		{ AGENT "[port a]\nallowed_source_address_prefixes = 10.0.0.0/8 10.0.0.1/8\n",
			":4: allowed_source_address_prefixes: \"10.0.0.1/8\" has host bits set "
			"beyond its "
			"length" },
		{ AGENT "[port a]\nalways_allow = 10.0.0.0/8; all\n",
			":4: always_allow: \"10.0.0.0/8;\" has a length" },
		{ AGENT "[port a]\nalways_allow = host.example\n",
			":4: always_allow: \"host.example\" is not an IPv4 or IPv6 address" },
		{ AGENT "[port a]\nmax_request_access_duration = 3h\n",
			":4: max_request_access_duration must be an ISO 8601 duration from PT1M to "
			"P366D, not \"3h\"" },
		{ AGENT "[port a]\nmax_request_access_duration = PT59S\n",
			":4: max_request_access_duration must be" },
		{ AGENT "[port a]\nmax_request_access_duration = P367D\n",
			":4: max_request_access_duration must be" },
		{ AGENT "[port a]\non_expiry = close\n",
			":4: on_expiry must be keep or kill, not "
			"\"close\"" },
		{ AGENT "mode = a\x01\n", ":3: the line has control characters" },
		{ AGENT "# \x1b[2J\n", ":3: the line has control characters" },
		{ "[agent]\nvm_id = \xff\n", ":2: the line is not UTF-8" },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(mistakes); i++)
		assert_error(mistakes[i].text, mistakes[i].error);
}

static void what_stands_behind_a_nul_is_not_lost(void **state)
{
	static const char text[] = AGENT "\0[port ssh]\nnumber = 22\n";

	(void)state;
	assert_error_bytes(text, sizeof(text) - 1, ": the file has a NUL byte");
}

/* inih would have cut these at 200 bytes and taken the rest for a line of its own. */
static void a_long_line_is_one_line(void **state)
{
	char text[12000], id[513];
	_cleanup_(config_freep) struct config *config = NULL;

	(void)state;
	memset(id, 'i', 512);
	id[512] = '\0';
	snprintf(text, sizeof(text), "[agent]\n# %*s mode = audit\nvm_id = %s\n", 190, "", id);
	config = load_passes(text);
	assert_string_equal(config->vm_id, id);
	assert_int_equal(config->mode, MODE_ENFORCE);
	snprintf(text, sizeof(text), "[agent]\nvm_id = %si\n", id);
	assert_error(text, ":2: vm_id must be 1 to 512 bytes");
	snprintf(text, sizeof(text), AGENT "# %*s\n", 8192, "x");
	assert_error(text, ":3: the line is longer than 8192 bytes");
}

static void a_socket_no_longer_than_the_kernel_takes(void **state)
{
	char text[2000], name[108];
	_cleanup_(config_freep) struct config *config = NULL;

	(void)state;
	memset(name, 's', sizeof(name));
	name[106] = '\0';
	snprintf(text, sizeof(text), AGENT "socket = /%s\n", name);
	config = load_passes(text);
	assert_int_equal(strlen(config->socket), 107);
	snprintf(text, sizeof(text), AGENT "socket = /%ss\n", name);
	assert_error(text, ":3: socket is longer than the 107 bytes");
	snprintf(text, sizeof(text), AGENT "runtime_directory = /%s\n", name);
	assert_error(text, ": runtime_directory is too long for a socket in it");
	memset(text, 'x', sizeof(text));
	memcpy(text, AGENT "trust = /", strlen(AGENT "trust = /"));
	text[sizeof(text) - 1] = '\0';
	assert_error(text, ":3: trust is longer than 1024 bytes");
}

static void lists_are_bounded(void **state)
{
	_cleanup_(freep) char *text = calloc(1, 64 * 1024);
	_cleanup_(config_freep) struct config *config = NULL;
	char *end;

	(void)state;
	end = stpcpy(text, AGENT "[port a]\nnumber = 22\nalways_allow =");
	for (size_t i = 0; i < 64; i++)
		end += sprintf(end, " 2001:db8:1111:2222:3333:4444:5555:%zx", i);
	config = load_passes(text);
	assert_int_equal(config->ports[0].n_always_allow, 64);
	stpcpy(end, " ::1");
	assert_error(text, ":5: always_allow has more than 64 prefixes");

	end = stpcpy(text, AGENT);
	for (size_t i = 0; i < CONFIG_PORTS_MAX; i++)
		end += sprintf(end, "[port p%zu]\nnumber = %zu\n", i, i + 1);
	config_free(load_passes(text));
	stpcpy(end, "[port q]\nnumber = 1\n");
	assert_error(text, ":515: more than 256 [port] sections");
}

static void a_file_that_can_not_be_read_is_named(void **state)
{
	_cleanup_(freep) char *large = malloc(SETTINGS_FILE_BYTES_MAX + 1);
	_cleanup_(freep) char *error = NULL;
	struct config *config = NULL;

	(void)state;
	unlink(path);
	assert_int_equal(config_load(path, &config, &error), -ENOENT);
	assert_string_equal(error + strlen(path), ": No such file or directory");
	free(error);
	assert_int_equal(config_load(directory, &config, &error), -EISDIR);
	memset(large, '\n', SETTINGS_FILE_BYTES_MAX + 1);
	assert_error_bytes(large, SETTINGS_FILE_BYTES_MAX + 1, ": longer than 256 KiB");
}

/* Reads agent.conf.example with the "#" in front of each setting taken off. */
static char *example_uncommented(void)
{
	FILE *file = fopen("agent.conf.example", "re");
	char *text = calloc(1, SETTINGS_FILE_BYTES_MAX), *end = text, line[512];

	if (!file) {
		free(text);
		return NULL;
	}
	while (fgets(line, sizeof(line), file)) {
		bool is_setting = line[0] == '#' &&
			(isalpha((unsigned char)line[1]) || line[1] == '[') &&
			!strstr(line, " =\n"); /* a default that can't be written down */

		end = stpcpy(end, line + (is_setting ? 1 : 0));
	}
	fclose(file);
	return text;
}

static void the_example_shows_the_defaults(void **state)
{
	static const char *const names[] = { "vm_id", "mode", "trust", "state_directory",
		"runtime_directory", "log_directory", "socket", "on_stop", "destination_nat",
		"max_grants", "log_bytes_max", "url", "kind", "wait", "interval", "ca",
		"certificate", "key", "token", "number", "protocol",
		"allowed_source_address_prefixes", "max_request_access_duration", "always_allow",
		"on_expiry" };
	_cleanup_(freep) char *text = example_uncommented();
	_cleanup_(config_freep) struct config *shown = NULL;
	_cleanup_(config_freep) struct config *bare = NULL;
	_cleanup_(freep) char *with_id = NULL;
	const char *agent;

	(void)state;
	assert_non_null(text); /* tests run at the top of the tree */
	for (size_t i = 0; i < N_ELEMENTS(names); i++) {
		char line[80], bare_line[80];

		snprintf(line, sizeof(line), "\n%s =", names[i]);
		snprintf(bare_line, sizeof(bare_line), "\n#%s =\n", names[i]);
		if (!strstr(text, line) && !strstr(text, bare_line))
			fail_msg("agent.conf.example has no %s", names[i]);
	}
	agent = strstr(text, "[agent]\n");
	assert_non_null(agent);
	assert_true(asprintf(&with_id, "%svm_id = web-1\n%s", "[agent]\n",
			    agent + strlen("[agent]\n")) > 0);
	shown = load_passes(with_id);
	bare = load_passes(AGENT "[port ssh]\nnumber = 22\n");
	assert_int_equal(shown->mode, bare->mode);
	assert_string_equal(shown->trust, bare->trust);
	assert_string_equal(shown->state_directory, bare->state_directory);
	assert_string_equal(shown->runtime_directory, bare->runtime_directory);
	assert_string_equal(shown->log_directory, bare->log_directory);
	assert_string_equal(shown->socket, bare->socket);
	assert_int_equal(shown->on_stop, bare->on_stop);
	assert_int_equal(shown->destination_nat, bare->destination_nat);
	assert_int_equal(shown->max_grants, bare->max_grants);
	assert_int_equal(shown->log_bytes_max, bare->log_bytes_max);
	assert_int_equal(shown->feed.kind, bare->feed.kind);
	assert_int_equal(shown->feed.wait, bare->feed.wait);
	assert_int_equal(shown->feed.interval, bare->feed.interval);
	assert_string_equal(shown->feed.state_directory, bare->feed.state_directory);
	assert_int_equal(shown->n_ports, 1);
	assert_int_equal(shown->ports[0].rule.protocols, bare->ports[0].rule.protocols);
	assert_int_equal(shown->ports[0].rule.n_prefixes, 1);
	assert_int_equal(shown->ports[0].rule.prefixes[0].family, AF_UNSPEC);
	assert_int_equal(shown->ports[0].rule.max_duration, bare->ports[0].rule.max_duration);
	assert_int_equal(shown->ports[0].n_always_allow, 0);
	assert_int_equal(shown->ports[0].on_expiry, bare->ports[0].on_expiry);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_left_out_has_its_default),
		cmocka_unit_test(each_key_is_obeyed),
		cmocka_unit_test(a_file_is_asked_for_by_its_own_url),
		cmocka_unit_test(the_socket_follows_the_runtime_directory),
		cmocka_unit_test(nothing_is_managed_without_a_port),
		cmocka_unit_test(two_sections_may_bound_one_port),
		cmocka_unit_test(a_machine_without_a_name_gets_one),
		cmocka_unit_test(a_mistake_is_told_with_its_line),
		cmocka_unit_test(what_stands_behind_a_nul_is_not_lost),
		cmocka_unit_test(a_long_line_is_one_line),
		cmocka_unit_test(a_socket_no_longer_than_the_kernel_takes),
		cmocka_unit_test(lists_are_bounded),
		cmocka_unit_test(a_file_that_can_not_be_read_is_named),
		cmocka_unit_test(the_example_shows_the_defaults),
	};

	return cmocka_run_group_tests(tests, directory_setup, directory_teardown);
}
