/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>

#include "agent/cli/assessment.h"
#include "cleanup.h"

/* Azure's default. */
#define PROPOSED_DURATION "PT3H"

static const struct {
	uint16_t port;
	uint8_t l4proto;
	const char *name;
} services[] = {
	{ 22, IPPROTO_TCP, "ssh" },
	{ 23, IPPROTO_TCP, "telnet" },
	{ 111, IPPROTO_TCP, "rpcbind" },
	{ 111, IPPROTO_UDP, "rpcbind" },
	{ 161, IPPROTO_UDP, "snmp" },
	{ 445, IPPROTO_TCP, "smb" },
	{ 623, IPPROTO_UDP, "ipmi" },
	{ 873, IPPROTO_TCP, "rsync" },
	{ 1433, IPPROTO_TCP, "mssql" },
	{ 1521, IPPROTO_TCP, "oracle" },
	{ 2049, IPPROTO_TCP, "nfs" },
	{ 2375, IPPROTO_TCP, "docker" },
	{ 2376, IPPROTO_TCP, "docker-tls" },
	{ 2379, IPPROTO_TCP, "etcd" },
	{ 3306, IPPROTO_TCP, "mysql" },
	{ 3389, IPPROTO_TCP, "rdp" },
	{ 3389, IPPROTO_UDP, "rdp" },
	{ 5432, IPPROTO_TCP, "postgresql" },
	{ 5601, IPPROTO_TCP, "kibana" },
	{ 5900, IPPROTO_TCP, "vnc" },
	{ 5901, IPPROTO_TCP, "vnc" },
	{ 5985, IPPROTO_TCP, "winrm" },
	{ 5986, IPPROTO_TCP, "winrm-tls" },
	{ 6379, IPPROTO_TCP, "redis" },
	{ 6443, IPPROTO_TCP, "kubernetes" },
	{ 8006, IPPROTO_TCP, "proxmox" },
	{ 8500, IPPROTO_TCP, "consul" },
	{ 9090, IPPROTO_TCP, "cockpit" },
	{ 9200, IPPROTO_TCP, "elasticsearch" },
	{ 10000, IPPROTO_TCP, "webmin" },
	{ 10250, IPPROTO_TCP, "kubelet" },
	{ 11211, IPPROTO_TCP, "memcached" },
	{ 11211, IPPROTO_UDP, "memcached" },
	{ 15672, IPPROTO_TCP, "rabbitmq" },
	{ 27017, IPPROTO_TCP, "mongodb" },
};

const char *service_name(uint16_t port, uint8_t l4proto)
{
	for (size_t i = 0; i < N_ELEMENTS(services); i++)
		if (services[i].port == port && services[i].l4proto == l4proto)
			return services[i].name;
	return NULL;
}

void services_foreach(
	void (*callback)(uint16_t port, uint8_t l4proto, const char *name, void *userdata),
	void *userdata)
{
	for (size_t i = 0; i < N_ELEMENTS(services); i++)
		callback(services[i].port, services[i].l4proto, services[i].name, userdata);
}

_printf_(3, 4) static void conclude(
	struct exposure *exposure, enum answer answer, const char *format, ...)
{
	va_list list;

	exposure->answer = answer;
	va_start(list, format);
	vsnprintf(exposure->reason, sizeof(exposure->reason), format, list);
	va_end(list);
}

/* Who gets through what other rules there are. */
static void assess_unmanaged(struct exposure *e, const char *who)
{
	if (e->published_by[0] && !e->is_open)
		conclude(e, ANSWER_NOT_CONFIGURED,
			"published by destination NAT (%s): it may be open to anyone; what is "
			"refused behind it is not looked into",
			e->published_by);
	else if (!e->is_judged)
		conclude(e, ANSWER_NOT_CONFIGURED,
			"%s listens on %s; whether this host's firewall refuses strangers can't be "
			"told: %s",
			who, e->addresses, e->refused_by);
	else if (e->is_open)
		conclude(e, ANSWER_NOT_CONFIGURED,
			"%s listens on %s, and nothing on this host refuses strangers", who,
			e->addresses);
	else if (e->may_be_open)
		conclude(e, ANSWER_NOT_CONFIGURED,
			"%s listens on %s, and may be open to anyone: whether %s refuses them "
			"can't be "
			"told by reading",
			who, e->addresses, e->refused_by[0] ? e->refused_by : "the firewall");
	else if (e->may_be_reached)
		conclude(e, ANSWER_NOT_CONFIGURED,
			"%s listens on %s; this host's firewall (%s) lets in some sources, at all "
			"times: who needs it could have it for a time",
			who, e->addresses, e->refused_by);
	else if (e->refused_by[0])
		conclude(e, ANSWER_UNSUPPORTED,
			"this host's firewall (%s) refuses everyone: there is nothing to open",
			e->refused_by);
	else
		conclude(e, ANSWER_UNSUPPORTED,
			"%s listens on %s, where this host has no address that others reach", who,
			e->addresses);
}

void exposure_assess(struct exposure *e)
{
	const char *who = e->process[0] ? e->process : "something";

	if (!e->is_outward)
		conclude(e, ANSWER_UNSUPPORTED,
			"%s listens on %s: nobody but this host itself reaches it", who,
			e->addresses);
	else if (e->is_managed && e->gate_stands == 0)
		conclude(e, ANSWER_CONFIGURED,
			"managed, but the gate is not in the kernel: nobody is refused (sudo "
			"jitgate doctor)");
	else if (e->is_managed && e->is_audit)
		conclude(e, ANSWER_CONFIGURED,
			"managed, but with mode = audit: strangers are counted, not refused yet");
	else if (e->is_managed)
		conclude(e, ANSWER_CONFIGURED, "managed: who was not granted is refused%s",
			e->gate_stands < 0 ? ", where the gate stands, which root alone can see"
					   : "");
	else
		assess_unmanaged(e, who);
	if (!e->managed_is_known && e->answer == ANSWER_NOT_CONFIGURED)
		strncat(e->reason,
			" (whether it is managed, neither the agent nor its configuration tells)",
			sizeof(e->reason) - strlen(e->reason) - 1);
}

const char *answer_name(enum answer answer)
{
	static const char *const names[] = {
		[ANSWER_CONFIGURED] = "configured",
		[ANSWER_NOT_CONFIGURED] = "notConfigured",
		[ANSWER_UNSUPPORTED] = "unsupported",
	};

	return names[answer];
}

#define NAME_MAX_BYTES 64

static bool name_is_taken(
	const struct exposure *exposures, size_t n, const struct config *config, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (exposures[i].answer == ANSWER_NOT_CONFIGURED &&
			strcmp(exposures[i].service, name) == 0)
			return true;
	for (size_t i = 0; config && i < config->n_ports; i++)
		if (strcmp(config->ports[i].name, name) == 0)
			return true;
	return false;
}

/* "ssh"; "ssh-2222-tcp" where another is called that. */
static void name_section(const struct exposure *exposures, size_t i, const struct config *config,
	char name[static NAME_MAX_BYTES])
{
	const struct exposure *exposure = &exposures[i];

	snprintf(name, NAME_MAX_BYTES, "%s", exposure->service);
	if (name_is_taken(exposures, i, config, name))
		snprintf(name, NAME_MAX_BYTES, "%s-%u-%s", exposure->service, exposure->port,
			exposure->l4proto == IPPROTO_TCP ? "tcp" : "udp");
	for (unsigned more = 2; name_is_taken(exposures, i, config, name); more++)
		snprintf(name, NAME_MAX_BYTES, "%s-%u-%s-%u", exposure->service, exposure->port,
			exposure->l4proto == IPPROTO_TCP ? "tcp" : "udp", more);
}

void proposal_write(FILE *file, const struct exposure *exposures, size_t n, bool is_whole,
	const struct config *config, const char *source)
{
	char name[NAME_MAX_BYTES];

	if (is_whole)
		fprintf(file,
			"# Proposed by jitgate assess. With mode = audit nothing is refused yet, "
			"only "
			"counted: \"jitgate denied\" shows\n"
			"# whom it would be. Then enforce.\n"
			"[agent]\n"
			"mode = audit\n");
	else
		fprintf(file, "# Proposed by jitgate assess, to be added to the configuration.%s\n",
			config && config->mode == MODE_ENFORCE
				? " Its mode is enforce: from the next reload on,\n"
				  "# whoever has no grant is refused there."
				: "");
	for (size_t i = 0; i < n; i++) {
		const struct exposure *exposure = &exposures[i];

		if (exposure->answer != ANSWER_NOT_CONFIGURED)
			continue;
		name_section(exposures, i, config, name);
		fprintf(file, "\n# %s\n[port %s]\n", exposure->reason, name);
		fprintf(file, "number = %u\nprotocol = %s\n", exposure->port,
			exposure->l4proto == IPPROTO_TCP ? "TCP" : "UDP");
		fprintf(file, "max_request_access_duration = " PROPOSED_DURATION "\n");
		if (source && strcmp(exposure->service, "ssh") == 0)
			fprintf(file,
				"# You came from there. Without the \"#\" it is let in always, "
				"with no "
				"grant.\n"
				"#always_allow = %s\n",
				source);
	}
}
