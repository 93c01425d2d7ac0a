/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Does something listen where a port is managed, and is ssh guarded? */

#include <errno.h>
#include <string.h>

#include "agent/cli/doctor.h"
#include "agent/cli/output.h"

static unsigned protocol_of(const struct listener *listener)
{
	return listener->l4proto == IPPROTO_TCP ? PROTOCOL_TCP : PROTOCOL_UDP;
}

/* The first listener within the ports that others can reach; else one that they can't; else -1. */
static ssize_t find_listener(const struct survey *survey, const struct managed_port *managed)
{
	ssize_t found = -1;

	for (size_t i = 0; i < survey->listeners.n; i++) {
		const struct listener *listener = &survey->listeners.listeners[i];

		if (listener->port < managed->ports.first || listener->port > managed->ports.last ||
			!(managed->protocols & protocol_of(listener)))
			continue;
		found = (ssize_t)i;
		if (!listener_is_loopback(listener))
			break;
	}
	return found;
}

static const char *ports_format(const struct managed_port *managed, char text[static 32])
{
	const char *protocol = managed->protocols == PROTOCOL_TCP ? "tcp"
		: managed->protocols == PROTOCOL_UDP              ? "udp"
								  : "*";

	if (managed->ports.first == managed->ports.last)
		snprintf(text, 32, "%u/%s", managed->ports.first, protocol);
	else
		snprintf(text, 32, "%u-%u/%s", managed->ports.first, managed->ports.last, protocol);
	return text;
}

/* True where destination NAT leads the port elsewhere, with the rule's place in judgement. */
static bool is_published(
	const struct survey *survey, uint8_t l4proto, uint16_t port, struct judgement *judgement)
{
	if (!survey->firewall || !firewall_has_destination_nat(survey->firewall))
		return false;
	survey_judge(survey, AF_INET, l4proto, port, NULL, judgement);
	return judgement->translated_by[0] != '\0';
}

/* What listens, and others reach. A program that publishes a container's port holds it, too; sshd
 * does not mean to be passed by. */
static void tell_listener(
	const struct survey *survey, struct findings *findings, const char *ports, size_t listener)
{
	const char *name = survey->names[listener];
	uint16_t port = survey->listeners.listeners[listener].port;
	struct judgement judgement;

	if (!survey_is_ssh(survey, listener) ||
		!is_published(survey, IPPROTO_TCP, port, &judgement)) {
		findings_add(findings, "ports", VERDICT_OK, "%s is managed, and %s listens there",
			ports, name[0] ? name : "something");
		return;
	}
	findings_add(findings, "ports", VERDICT_WARNING,
		"%s is managed, and %s listens there, but %s leads it elsewhere (IPv4), wholly or "
		"in part: a grant opens what is there",
		ports, name[0] ? name : "what seems to be sshd", judgement.translated_by);
	findings_advise(findings,
		"one of the two at another port, with a [port] section of its own; \"nft -a list "
		"ruleset\" shows the rule");
}

static void tell_managed(
	const struct survey *survey, struct findings *findings, const struct managed_port *managed)
{
	ssize_t found = find_listener(survey, managed);
	const char *name = found >= 0 ? survey->names[found] : "";
	struct judgement judgement;
	char ports[32];

	ports_format(managed, ports);
	if (found >= 0 && !listener_is_loopback(&survey->listeners.listeners[found])) {
		tell_listener(survey, findings, ports, (size_t)found);
	} else if (is_published(survey,
			   managed->protocols & PROTOCOL_TCP ? IPPROTO_TCP : IPPROTO_UDP,
			   managed->ports.first, &judgement)) {
		findings_add(findings, "ports", VERDICT_OK,
			"%s is managed, and published by destination NAT", ports);
	} else if (found >= 0) {
		findings_add(findings, "ports", VERDICT_WARNING,
			"%s is managed, but %s listens for this host alone", ports,
			name[0] ? name : "what is there");
		findings_advise(findings,
			"have it listen on an address that others reach, or take "
			"the port out of the configuration");
	} else {
		findings_add(findings, "ports", VERDICT_WARNING,
			"%s is managed, but nothing listens there: a grant opens it for nothing",
			ports);
		findings_advise(findings,
			"is the service down, or is it on another port? \"jitgate assess\" lists "
			"what listens");
	}
}

/* Once for each port, whatever its addresses. */
static bool is_told(const struct survey *survey, size_t listener)
{
	for (size_t i = 0; i < listener; i++)
		if (survey_is_ssh(survey, i) &&
			!listener_is_loopback(&survey->listeners.listeners[i]) &&
			survey->listeners.listeners[i].port ==
				survey->listeners.listeners[listener].port)
			return true;
	return false;
}

static void tell_ssh(const struct survey *survey, struct findings *findings)
{
	for (size_t i = 0; i < survey->listeners.n; i++) {
		const struct listener *listener = &survey->listeners.listeners[i];
		const char *name;

		if (!survey_is_ssh(survey, i) || listener_is_loopback(listener) ||
			is_told(survey, i) ||
			survey_find_managed(survey, listener->port, PROTOCOL_TCP))
			continue;
		name = survey->names[i][0] ? survey->names[i] : "what seems to be sshd";
		if (survey_may_lack_policy(survey)) {
			findings_add(findings, "ssh", VERDICT_UNKNOWN,
				"%s listens on %u/tcp: a policy of the control plane may name it, "
				"which the agent would tell",
				name, listener->port);
			findings_advise(findings, "sudo systemctl start jitgated, and ask again");
			continue;
		}
		findings_add(findings, "ssh", VERDICT_WARNING,
			"%s listens on %u/tcp, which is not managed: it is open as if there were "
			"no "
			"jitgate",
			name, listener->port);
		findings_advise(findings,
			"add [port ssh-%u] with number = %u to %s; unless that says mode = audit, "
			"who has no grant is refused there from the next reload on",
			listener->port, listener->port, survey->config_path);
	}
}

void doctor_ports(const struct survey *survey, struct findings *findings)
{
	if (survey->listeners_status < 0) {
		findings_add(findings, "ports", VERDICT_UNKNOWN,
			"the kernel does not tell what listens: %s",
			strerror(-survey->listeners_status));
		findings_advise(findings, "sudo ss -lntup may tell");
		return;
	}
	if (survey->listeners.is_cut) {
		findings_add(findings, "ports", VERDICT_UNKNOWN,
			"more than %d sockets listen here: those beyond are not looked at, and "
			"sshd may be one of them",
			LISTENERS_MAX);
		findings_advise(findings, "whose are they? sudo ss -lntup");
		return;
	}
	if (!survey->managed_is_known)
		return; /* told with the agent and the configuration */
	for (size_t i = 0; i < survey->n_managed; i++)
		tell_managed(survey, findings, &survey->managed[i]);
	tell_ssh(survey, findings);
}
