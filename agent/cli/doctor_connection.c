/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Would a new connection from where the asker sits be let in? */

#include <errno.h>
#include <string.h>

#include "agent/cli/doctor.h"
#include "agent/cli/output.h"
#include "agent/common/varlink.h"

#define SSH_PORT 22

/* The port that was come by; where that is not known, what sshd listens on. */
static uint16_t origin_port(const struct survey *survey)
{
	if (survey->origin.port != 0)
		return survey->origin.port;
	for (size_t i = 0; i < survey->listeners.n; i++)
		if (survey_is_ssh(survey, i) &&
			listener_takes(&survey->listeners.listeners[i], survey->origin.family))
			return survey->listeners.listeners[i].port;
	return SSH_PORT;
}

/* How not to be locked out, or to get in again. */
static void advise(
	const struct survey *survey, struct findings *findings, const char *source, uint16_t port)
{
	findings_advise(findings,
		"always_allow = %s below that port in %s, and sudo jitgate reload, lets this "
		"address "
		"in always; a grant lets it in for a time: from a console, sudo jitgate grant "
		"--port "
		"%u/tcp --source %s --for PT1H --reason ...",
		source, survey->config_path, port, source);
}

static void tell_refused(
	const struct survey *survey, struct findings *findings, const char *source, uint16_t port)
{
	if (survey->is_audit)
		findings_add(findings, "you", VERDICT_WARNING,
			"nothing would let a new connection from %s to %u/tcp in once mode = "
			"enforce "
			"(this session would go on)",
			source, port);
	else
		findings_add(findings, "you", VERDICT_PROBLEM,
			"a new connection from %s to %u/tcp %s refused: nothing lets it in (this "
			"session goes on)",
			source, port, survey->agent_status == 0 ? "is" : "will be");
	advise(survey, findings, source, port);
}

/* sshd tells by which port it was come to once destination NAT has been. */
static void tell_unmanaged(
	const struct survey *survey, struct findings *findings, const char *source, uint16_t port)
{
	char place[PLACE_MAX];

	if (survey->firewall && firewall_find_alias(survey->firewall, IPPROTO_TCP, port, place)) {
		findings_add(findings, "you", VERDICT_UNKNOWN,
			"you came from %s to %u/tcp, which is not managed; but %s leads another "
			"port there, which may be",
			source, port, place);
		findings_advise(findings,
			"by which port did you come? sudo jitgate explain %s PORT/tcp", source);
		return;
	}
	findings_add(findings, "you", VERDICT_OK,
		"you came from %s to %u/tcp, which is not managed", source, port);
}

/* What the agent says. */
static void tell_explained(const struct survey *survey, struct findings *findings,
	const char *source, uint16_t port, const json_t *reply)
{
	const char *verdict = member_text(reply, "verdict", "?");
	const char *expires = member_text(reply, "expires", NULL);
	char moment[2 * TIME_STRING_MAX];

	if (strcmp(verdict, "refused") == 0 ||
		json_is_true(json_object_get(reply, "wouldRefuse"))) {
		tell_refused(survey, findings, source, port);
	} else if (strcmp(verdict, "unmanaged") == 0) {
		tell_unmanaged(survey, findings, source, port);
	} else if (expires) {
		findings_add(findings, "you", VERDICT_OK,
			"a new connection from %s to %u/tcp is let in by grant %s until %s", source,
			port, member_text(reply, "grant", "?"),
			moment_describe_utc(expires, survey->cli->now, moment));
		findings_advise(findings,
			"after that, this session goes on, and a new one needs a new grant: "
			"always_allow = %s in %s would be for ever",
			source, survey->config_path);
	} else {
		findings_add(findings, "you", VERDICT_OK,
			"a new connection from %s to %u/tcp is always let in: %s", source, port,
			member_text(reply, "reason", "?"));
	}
}

static bool is_always_allowed(const struct managed_port *managed, const struct origin *origin)
{
	for (size_t i = 0; i < managed->n_always_allow; i++)
		if (prefix_contains_address(
			    &managed->always_allow[i], origin->family, &origin->source))
			return true;
	return false;
}

/* What the configuration says, where no agent answers. */
static void tell_by_config(
	const struct survey *survey, struct findings *findings, const char *source, uint16_t port)
{
	const struct managed_port *managed = survey_find_managed(survey, port, PROTOCOL_TCP);

	if (!survey->managed_is_known) {
		findings_add(findings, "you", VERDICT_UNKNOWN,
			"you came from %s to %u/tcp; whether a new connection is let in, neither "
			"the agent nor its configuration tells",
			source, port);
		findings_advise(findings, "%s",
			survey->is_root ? "correct the configuration, and start the agent"
					: "sudo jitgate doctor");
	} else if (!managed && survey_may_lack_policy(survey)) {
		findings_add(findings, "you", VERDICT_UNKNOWN,
			"you came from %s to %u/tcp: a policy of the control plane may name it, "
			"which the agent would tell",
			source, port);
		findings_advise(findings, "sudo systemctl start jitgated, and ask again");
	} else if (!managed) {
		tell_unmanaged(survey, findings, source, port);
	} else if (is_always_allowed(managed, &survey->origin)) {
		findings_add(findings, "you", VERDICT_OK,
			"a new connection from %s to %u/tcp is always let in: always_allow has it",
			source, port);
	} else {
		tell_refused(survey, findings, source, port);
	}
}

/* Through which interface one came is not known: what depends on it is not told. */
static void tell_firewall(
	const struct survey *survey, struct findings *findings, const char *source, uint16_t port)
{
	const struct probe probe = {
		.family = survey->origin.family,
		.l4proto = IPPROTO_TCP,
		.port = port,
		.source = &survey->origin.source,
		.tracking = TRACKING_NEW,
	};
	struct judgement judgement;
	char place[PLACE_MAX];

	/* Whoever came by another port, which is led to this one, comes so again. */
	if (!survey->firewall || firewall_find_alias(survey->firewall, IPPROTO_TCP, port, place))
		return;
	firewall_judge(survey->firewall, &probe, &judgement);
	if (judgement.outcomes != JUDGED_REFUSED || judgement.is_cut)
		return;
	findings_add(findings, "you", VERDICT_PROBLEM,
		"%s refuses new connections from %s to %u/tcp, whatever the gate does",
		judgement.refused_by, source, port);
	findings_advise(findings,
		"let this address through there: \"sudo nft -a list ruleset\" shows the rule; was "
		"it banned (fail2ban-client banned)?");
}

void doctor_connection(const struct survey *survey, struct findings *findings)
{
	const struct origin *origin = &survey->origin;
	uint16_t port = origin_port(survey);
	json_auto_t *reply = NULL;
	char source[PREFIX_STRING_MAX];

	if (origin->family == AF_UNSPEC) {
		findings_add(findings, "you", VERDICT_OK,
			"you did not come by ssh from another host, as far as can be seen: no gate "
			"is between you and this machine");
		return;
	}
	address_format(origin->family, &origin->source, source);
	if (survey->agent_status == 0 &&
		survey_ask(survey, "Explain",
			json_pack("{s:s, s:i, s:s}", "source", source, "port", port, "protocol",
				protocol_format(PROTOCOL_TCP)),
			&reply) == 0)
		tell_explained(survey, findings, source, port, reply);
	else
		tell_by_config(survey, findings, source, port);
	tell_firewall(survey, findings, source, port);
}
