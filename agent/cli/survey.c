/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <ifaddrs.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cli/client.h"
#include "agent/cli/output.h"
#include "agent/cli/ssh_socket.h"
#include "agent/cli/survey.h"
#include "nft/gate.h"

#define AGENT_TIMEOUT_MS 5000

static const uint8_t families[] = { AF_INET, AF_INET6 };

const struct address *stranger_address(uint8_t family)
{
	static const struct address v4 = { .bytes = { 11, 22, 33, 44 } };
	static const struct address v6 = { .bytes = { 0x26, 0x00, 0x12, 0x34, [15] = 1 } };

	return family == AF_INET ? &v4 : &v6;
}

int survey_ask(
	const struct survey *survey, const char *method, json_t *parameters, json_t **ret_reply)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	_cleanup_(freep) char *error = NULL;
	json_auto_t *reply = NULL;
	char qualified[96];
	int r;

	snprintf(qualified, sizeof(qualified), "%s.%s", AGENT_INTERFACE, method);
	r = varlink_client_open(survey->socket, AGENT_TIMEOUT_MS, &client);
	if (r < 0) {
		json_decref(parameters);
		return r;
	}
	r = varlink_client_call(client, qualified, parameters, &reply, &error);
	if (r == 0)
		*ret_reply = TAKE_PTR(reply);
	return r;
}

/* From an array of strings. Returns 0, -EINVAL or -ENOMEM. */
static int read_prefixes(const json_t *array, struct prefix **ret, size_t *ret_n)
{
	struct prefix *prefixes = calloc(json_array_size(array) + 1, sizeof(*prefixes));
	const json_t *text;
	size_t i;

	if (!prefixes)
		return -ENOMEM;
	json_array_foreach (array, i, text)
		if (!json_string_value(text) ||
			prefix_parse(json_string_value(text), &prefixes[i]) < 0) {
			free(prefixes);
			return -EINVAL;
		}
	*ret = prefixes;
	*ret_n = json_array_size(array);
	return 0;
}

static int copy_prefixes(
	const struct prefix *prefixes, size_t n, struct prefix **ret, size_t *ret_n)
{
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	if (n > 0)
		memcpy(*ret, prefixes, n * sizeof(*prefixes));
	*ret_n = n;
	return 0;
}

static int read_managed_port(const json_t *port, struct managed_port *managed)
{
	json_int_t first = member_integer(port, "first"), last = member_integer(port, "last");
	int r;

	if (first < 1 || last < first || last > UINT16_MAX ||
		protocol_parse(member_text(port, "protocol", ""), &managed->protocols) < 0)
		return -EINVAL;
	managed->ports = (struct port_range){ (uint16_t)first, (uint16_t)last };
	r = read_prefixes(json_object_get(port, "allowedSourceAddressPrefixes"), &managed->allowed,
		&managed->n_allowed);
	return r < 0 ? r
		     : read_prefixes(json_object_get(port, "alwaysAllow"), &managed->always_allow,
			       &managed->n_always_allow);
}

/* What the agent says; what is not as it should be is left out. */
static int take_from_agent(struct survey *survey)
{
	const json_t *ports = json_object_get(survey->status, "ports"), *port;
	size_t i;

	survey->managed = calloc(json_array_size(ports) + 1, sizeof(*survey->managed));
	if (!survey->managed)
		return -ENOMEM;
	json_array_foreach (ports, i, port)
		if (read_managed_port(port, &survey->managed[survey->n_managed++]) == -ENOMEM)
			return -ENOMEM;
	survey->is_audit = strcmp(member_text(survey->status, "mode", ""), "audit") == 0;
	survey->managed_is_known = true;
	return 0;
}

static int take_from_config(struct survey *survey)
{
	const struct config *config = survey->config;

	survey->managed = calloc(config->n_ports + 1, sizeof(*survey->managed));
	if (!survey->managed)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_ports; i++) {
		const struct config_port *port = &config->ports[i];
		struct managed_port *managed = &survey->managed[survey->n_managed++];

		managed->ports = port->rule.ports;
		managed->protocols = port->rule.protocols;
		if (copy_prefixes(port->rule.prefixes, port->rule.n_prefixes, &managed->allowed,
			    &managed->n_allowed) < 0 ||
			copy_prefixes(port->always_allow, port->n_always_allow,
				&managed->always_allow, &managed->n_always_allow) < 0)
			return -ENOMEM;
	}
	survey->is_audit = config->mode == MODE_AUDIT;
	survey->managed_is_known = true;
	return 0;
}

/* The agent says which configuration it runs with; a configuration, where its agent is. */
static int find_agent(struct survey *survey, const char *config_path)
{
	const char *told;

	survey->socket = survey->cli->socket;
	survey->agent_status = survey_ask(survey, "Status", NULL, &survey->status);
	told = member_text(survey->status, "configFile", "");
	if (!config_path && told[0] == '/')
		survey->config_path = told;
	survey->config_status =
		config_load(survey->config_path, &survey->config, &survey->config_error);
	if (survey->config_status == -ENOMEM || survey->agent_status == -ENOMEM)
		return -ENOMEM;
	if (survey->status || !survey->config || strcmp(survey->socket, AGENT_SOCKET) != 0 ||
		strcmp(survey->socket, survey->config->socket) == 0)
		return 0;
	survey->socket = survey->config->socket;
	survey->agent_status = survey_ask(survey, "Status", NULL, &survey->status);
	return survey->agent_status == -ENOMEM ? -ENOMEM : 0;
}

static int look_at_gate(const struct survey *survey)
{
	_cleanup_(gate_freep) struct gate *gate = NULL;
	bool installed = false;
	uint64_t refused;
	int r;

	if (survey->status)
		return json_is_true(
			json_object_get(json_object_get(survey->status, "gate"), "installed"));
	r = gate_open(&gate);
	if (r == 0)
		r = gate_status(gate, &installed, &refused);
	return r < 0 ? r : installed;
}

/* Neither an agent nor a configuration is there: was there one, whose gate may stand yet? */
static bool nothing_is_managed(const struct survey *survey)
{
	return survey->has_no_config && survey->agent_status == -ENOENT &&
		(survey->gate_stands < 0 ? access(CONFIG_STATE_DIRECTORY, F_OK) < 0
					 : survey->gate_stands == 0);
}

static int look_at_agent(struct survey *survey, const char *config_path)
{
	struct stat status;
	int r = find_agent(survey, config_path);

	if (r < 0)
		return r;
	survey->has_no_config = survey->config_status == -ENOENT ||
		(stat(survey->config_path, &status) == 0 && status.st_size == 0);
	survey->gate_stands = look_at_gate(survey);
	if (survey->gate_stands == -ENOMEM)
		return -ENOMEM;
	if (survey->status)
		return take_from_agent(survey);
	if (survey->config)
		return take_from_config(survey);
	survey->managed_is_known = nothing_is_managed(survey);
	return 0;
}

static int look_at_listeners(struct survey *survey)
{
	survey->listeners_status = listeners_read(&survey->listeners);
	survey->names = calloc(survey->listeners.n + 1, sizeof(*survey->names));
	if (!survey->names)
		return -ENOMEM;
	return processes_name(&survey->listeners, survey->names);
}

/* An address that only this link, or this host, knows is none that others reach. */
static bool read_address(const struct sockaddr *socket, uint8_t family, struct address *ret)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)socket;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)socket;

	*ret = (struct address){};
	if (family == AF_INET) {
		memcpy(ret->bytes, &v4->sin_addr, 4);
		return ret->bytes[0] != 127;
	}
	memcpy(ret->bytes, &v6->sin6_addr, 16);
	return !IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) && !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr);
}

static void look_at_addresses(struct survey *survey)
{
	struct ifaddrs *all;

	if (links_read(&survey->links) < 0)
		survey->links = (struct links){};
	if (getifaddrs(&all) < 0) {
		survey->has_address[0] = survey->has_address[1] = true;
		return;
	}
	for (size_t f = 0; f < N_ELEMENTS(families); f++) {
		const struct link *outside = links_outside(&survey->links, families[f]);
		size_t n = 0;

		for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
			struct address address;

			if (!i->ifa_addr || i->ifa_addr->sa_family != families[f] ||
				!read_address(i->ifa_addr, families[f], &address))
				continue;
			survey->has_address[f] = true;
			if (outside && strcmp(i->ifa_name, outside->name) == 0) {
				survey->addresses[f] = address;
				n++;
			}
		}
		survey->outside_address[f] = n == 1 ? &survey->addresses[f] : NULL;
	}
	freeifaddrs(all);
}

int survey_make(const struct cli *cli, const char *config_path, struct survey *survey)
{
	int r;

	*survey = (struct survey){
		.cli = cli,
		.is_root = geteuid() == 0,
		.config_path = config_path ? config_path : CONFIG_PATH,
	};
	r = look_at_agent(survey, config_path);
	if (r == 0)
		r = look_at_listeners(survey);
	if (r < 0)
		return r;
	look_at_addresses(survey);
	survey->firewall_status = firewall_read(&survey->firewall);
	if (survey->firewall_status == -ENOMEM)
		return -ENOMEM;
	origin_find(&survey->origin);
	return 0;
}

void survey_done(struct survey *survey)
{
	for (size_t i = 0; i < survey->n_managed; i++) {
		free(survey->managed[i].allowed);
		free(survey->managed[i].always_allow);
	}
	free(survey->managed);
	free(survey->config_error);
	config_free(survey->config);
	json_decref(survey->status);
	listener_list_done(&survey->listeners);
	free(survey->names);
	firewall_free(survey->firewall);
}

const struct managed_port *survey_find_managed(
	const struct survey *survey, uint16_t port, unsigned protocol)
{
	for (size_t i = 0; i < survey->n_managed; i++)
		if (survey->managed[i].ports.first <= port &&
			port <= survey->managed[i].ports.last &&
			(survey->managed[i].protocols & protocol))
			return &survey->managed[i];
	return NULL;
}

bool survey_may_lack_policy(const struct survey *survey)
{
	return !survey->status && survey->config && survey->config->feed.url;
}

void survey_judge(const struct survey *survey, uint8_t family, uint8_t l4proto, uint16_t port,
	const struct address *source, struct judgement *ret)
{
	const struct link *outside = links_outside(&survey->links, family);
	const struct probe probe = {
		.family = family,
		.l4proto = l4proto,
		.port = port,
		.source = source,
		.destination = survey->outside_address[family == AF_INET ? 0 : 1],
		.interface = outside ? outside->name : NULL,
		.interface_index = outside ? outside->index : 0,
		.tracking = TRACKING_NEW,
	};

	firewall_judge(survey->firewall, &probe, ret);
}

bool survey_is_ssh(const struct survey *survey, size_t listener)
{
	static const char *const programs[] = { "sshd", "sshd-session", "dropbear", "tinysshd" };
	const struct listener *it = &survey->listeners.listeners[listener];
	const char *name = survey->names[listener];

	if (it->l4proto != IPPROTO_TCP)
		return false;
	for (size_t i = 0; i < N_ELEMENTS(programs); i++)
		if (strcmp(name, programs[i]) == 0)
			return true;
	if (name[0] != '\0' && strcmp(name, "systemd") != 0)
		return false;
	return it->port == 22 || ssh_socket_has(it->port);
}
