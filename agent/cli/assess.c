/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What is open to anyone on this machine: assess. */

#include <errno.h>
#include <string.h>

#include "agent/cli/assessment.h"
#include "agent/cli/output.h"
#include "agent/cli/survey.h"
#include "agent/common/text.h"

#define ELSEWHERE \
	"What a cloud's security group, or a firewall before this host, refuses can't be seen " \
	"from " \
	"here."

static const uint8_t families[] = { AF_INET, AF_INET6 };

struct assessment {
	const struct survey *survey;
	struct exposure *exposures;
	size_t n;
	size_t n_others; /* after these: at ports that are not for management */
};

static struct exposure *find(struct assessment *assessment, uint16_t port, uint8_t l4proto)
{
	for (size_t i = 0; i < assessment->n; i++)
		if (assessment->exposures[i].port == port &&
			assessment->exposures[i].l4proto == l4proto)
			return &assessment->exposures[i];
	return NULL;
}

static struct exposure *add(
	struct assessment *assessment, uint16_t port, uint8_t l4proto, const char *service)
{
	const struct survey *survey = assessment->survey;
	struct exposure *exposure = find(assessment, port, l4proto);

	if (exposure || assessment->n >= EXPOSURES_MAX)
		return exposure;
	exposure = &assessment->exposures[assessment->n++];
	*exposure = (struct exposure){
		.port = port,
		.l4proto = l4proto,
		.service = service,
		.managed_is_known = survey->managed_is_known,
		.is_managed = survey_find_managed(survey, port,
				      l4proto == IPPROTO_TCP ? PROTOCOL_TCP : PROTOCOL_UDP) != NULL,
		.is_audit = survey->is_audit,
		.gate_stands = survey->gate_stands,
	};
	return exposure;
}

static void add_address(struct exposure *exposure, const struct listener *listener)
{
	char text[PREFIX_STRING_MAX];
	size_t n = strlen(exposure->addresses);

	address_format(listener->family, &listener->address, text);
	if (n + strlen(text) + sizeof(", ") > sizeof(exposure->addresses))
		return;
	snprintf(exposure->addresses + n, sizeof(exposure->addresses) - n, "%s%s",
		n > 0 ? ", " : "", text);
}

/* What other rules do with packets of a family. */
static void judge(const struct survey *survey, struct exposure *exposure, uint8_t family)
{
	struct judgement stranger, anyone;

	survey_judge(survey, family, exposure->l4proto, exposure->port, stranger_address(family),
		&stranger);
	survey_judge(survey, family, exposure->l4proto, exposure->port, NULL, &anyone);
	exposure->is_open |= stranger.outcomes == JUDGED_PASSES && !stranger.is_cut;
	exposure->may_be_open |= (stranger.outcomes & JUDGED_PASSES) || stranger.is_cut;
	exposure->may_be_reached |= (anyone.outcomes & JUDGED_PASSES) || anyone.is_cut;
	/* What listens here is a proxy, for this host's own connections. */
	if (stranger.outcomes & JUDGED_LEAVES)
		snprintf(exposure->published_by, sizeof(exposure->published_by), "%s",
			stranger.translated_by);
	if (!exposure->refused_by[0])
		snprintf(exposure->refused_by, sizeof(exposure->refused_by), "%s",
			stranger.refused_by);
}

static void judge_listener(
	const struct survey *survey, struct exposure *exposure, const struct listener *listener)
{
	if (survey->firewall_status < 0) {
		snprintf(exposure->refused_by, sizeof(exposure->refused_by), "%s",
			survey->firewall_status == -EPERM ? "root alone can see it"
							  : strerror(-survey->firewall_status));
		return;
	}
	if (firewall_has_legacy_table("filter")) {
		snprintf(exposure->refused_by, sizeof(exposure->refused_by),
			"iptables-legacy's rules are not read here");
		return;
	}
	exposure->is_judged = true;
	for (size_t i = 0; i < N_ELEMENTS(families); i++)
		if (listener_takes(listener, families[i]) && survey->has_address[i])
			judge(survey, exposure, families[i]);
}

static void add_listener(struct assessment *assessment, size_t i, bool of_management)
{
	const struct survey *survey = assessment->survey;
	const struct listener *listener = &survey->listeners.listeners[i];
	const char *service =
		survey_is_ssh(survey, i) ? "ssh" : service_name(listener->port, listener->l4proto);
	struct exposure *exposure;

	if (!service &&
		survey_find_managed(survey, listener->port,
			listener->l4proto == IPPROTO_TCP ? PROTOCOL_TCP : PROTOCOL_UDP))
		service = "other";
	if (of_management != (service != NULL))
		return;
	exposure = add(assessment, listener->port, listener->l4proto, service);
	if (!exposure)
		return;
	if (survey->names[i][0])
		memcpy(exposure->process, survey->names[i], sizeof(exposure->process));
	add_address(exposure, listener);
	if (listener_is_loopback(listener))
		return;
	exposure->is_outward = true;
	judge_listener(survey, exposure, listener);
}

/* Ports at which nothing of this host's listens, but which destination NAT leads to what does. */
static void add_published(uint16_t port, uint8_t l4proto, const char *name, void *userdata)
{
	struct assessment *assessment = userdata;
	const struct survey *survey = assessment->survey;
	struct judgement judgement = {};
	struct exposure *exposure;

	if (!survey->firewall || !firewall_has_destination_nat(survey->firewall) ||
		find(assessment, port, l4proto))
		return;
	for (size_t i = 0; i < N_ELEMENTS(families) && !judgement.translated_by[0]; i++)
		if (survey->has_address[i])
			survey_judge(survey, families[i], l4proto, port,
				stranger_address(families[i]), &judgement);
	if (!(judgement.outcomes & (JUDGED_PASSES | JUDGED_LEAVES)) || !judgement.translated_by[0])
		return;
	exposure = add(assessment, port, l4proto, name);
	if (!exposure)
		return;
	exposure->is_outward = true;
	snprintf(exposure->published_by, sizeof(exposure->published_by), "%s",
		judgement.translated_by);
}

static int compare_exposures(const void *a, const void *b)
{
	const struct exposure *x = a, *y = b;

	if (!x->service != !y->service)
		return x->service ? -1 : 1;
	if (x->answer != y->answer)
		return x->answer < y->answer ? -1 : 1;
	return (int)x->port - (int)y->port;
}

static void assess(struct assessment *assessment)
{
	for (size_t i = 0; i < assessment->survey->listeners.n; i++)
		add_listener(assessment, i, true);
	services_foreach(add_published, assessment);
	for (size_t i = 0; i < assessment->survey->listeners.n; i++)
		add_listener(assessment, i, false);
	for (size_t i = 0; i < assessment->n; i++) {
		exposure_assess(&assessment->exposures[i]);
		text_make_printable(assessment->exposures[i].process);
		text_make_printable(assessment->exposures[i].reason);
	}
	if (assessment->n > 0)
		qsort(assessment->exposures, assessment->n, sizeof(*assessment->exposures),
			compare_exposures);
	while (assessment->n > 0 && !assessment->exposures[assessment->n - 1].service) {
		assessment->n--;
		assessment->n_others++;
	}
}

/* The next one that may be open to anyone, from i on; NULL: there is none. */
static const struct exposure *next_other(const struct assessment *assessment, size_t *i)
{
	while (*i < assessment->n_others) {
		const struct exposure *e = &assessment->exposures[assessment->n + (*i)++];

		if (e->answer == ANSWER_NOT_CONFIGURED)
			return e;
	}
	return NULL;
}

static bool has_proposal(const struct assessment *assessment)
{
	for (size_t i = 0; i < assessment->n; i++)
		if (assessment->exposures[i].answer == ANSWER_NOT_CONFIGURED)
			return true;
	return false;
}

static void write_proposal(const struct assessment *assessment, FILE *file)
{
	const struct origin *origin = &assessment->survey->origin;
	char source[PREFIX_STRING_MAX];

	proposal_write(file, assessment->exposures, assessment->n,
		assessment->survey->has_no_config, assessment->survey->config,
		origin->family == AF_UNSPEC
			? NULL
			: address_format(origin->family, &origin->source, source));
}

static json_t *proposal_json(const struct assessment *assessment)
{
	_cleanup_(freep) char *text = NULL;
	size_t n_bytes;
	FILE *file;

	if (!has_proposal(assessment))
		return json_null();
	file = open_memstream(&text, &n_bytes);
	if (!file)
		return NULL;
	write_proposal(assessment, file);
	return fclose(file) == 0 ? json_string(text) : NULL;
}

static json_t *others_json(const struct assessment *assessment)
{
	json_t *others = json_array();
	const struct exposure *e;

	for (size_t i = 0; (e = next_other(assessment, &i));)
		json_array_append_new(others,
			json_pack("{s:i, s:s, s:s?, s:s, s:s}", "port", e->port, "protocol",
				e->l4proto == IPPROTO_TCP ? "TCP" : "UDP", "process",
				e->process[0] ? e->process : NULL, "addresses", e->addresses,
				"reason", e->reason));
	return others;
}

static int print_json(const struct assessment *assessment)
{
	json_auto_t *answers = json_array(), *whole = NULL;

	for (size_t i = 0; i < assessment->n; i++) {
		const struct exposure *e = &assessment->exposures[i];

		if (json_array_append_new(answers,
			    json_pack("{s:i, s:s, s:s, s:s?, s:s, s:s, s:s}", "port", e->port,
				    "protocol", e->l4proto == IPPROTO_TCP ? "TCP" : "UDP",
				    "service", e->service, "process",
				    e->process[0] ? e->process : NULL, "addresses", e->addresses,
				    "answer", answer_name(e->answer), "reason", e->reason)) < 0)
			return output_failure(-ENOMEM);
	}
	whole = json_pack("{s:O, s:o, s:s, s:o}", "answers", answers, "others",
		others_json(assessment), "note", ELSEWHERE, "proposal", proposal_json(assessment));
	return output_json(whole);
}

static void print_list(
	const struct cli *cli, const struct assessment *assessment, enum answer answer)
{
	static const struct {
		const char *heading;
		enum style style;
	} lists[] = {
		[ANSWER_CONFIGURED] = { "Configured", STYLE_GOOD },
		[ANSWER_NOT_CONFIGURED] = { "Not configured: just-in-time access would help",
			STYLE_WARNING },
		[ANSWER_UNSUPPORTED] = { "Unsupported: there is nothing to guard", STYLE_PLAIN },
	};
	size_t n = 0;

	for (size_t i = 0; i < assessment->n; i++) {
		const struct exposure *e = &assessment->exposures[i];

		if (e->answer != answer)
			continue;
		if (n++ == 0)
			output_line(cli, STYLE_HEADING, "%s", lists[answer].heading);
		output_line(cli, lists[answer].style, "  %u/%s %s: %s", e->port,
			e->l4proto == IPPROTO_TCP ? "tcp" : "udp", e->service, e->reason);
	}
	if (n > 0)
		putchar('\n');
}

static void print_others(const struct cli *cli, const struct assessment *assessment)
{
	const struct exposure *e;
	size_t n = 0;

	for (size_t i = 0; (e = next_other(assessment, &i));) {
		if (n++ == 0)
			output_line(cli, STYLE_HEADING,
				"Also open, at ports that are not for management; a [port] section "
				"guards any");
		output_line(cli, STYLE_PLAIN, "  %u/%s: %s", e->port,
			e->l4proto == IPPROTO_TCP ? "tcp" : "udp", e->reason);
	}
	if (n > 0)
		putchar('\n');
}

static int print(const struct cli *cli, const struct assessment *assessment)
{
	for (enum answer answer = ANSWER_CONFIGURED; answer <= ANSWER_UNSUPPORTED; answer++)
		print_list(cli, assessment, answer);
	if (assessment->n == 0)
		output_line(cli, STYLE_GOOD, "No management port is open here.\n");
	print_others(cli, assessment);
	output_line(cli, STYLE_PLAIN, "%s", ELSEWHERE);
	if (!assessment->survey->is_root)
		output_line(cli, STYLE_PLAIN,
			"Which program listens, and what the firewall refuses, root alone can see: "
			"sudo jitgate assess");
	if (has_proposal(assessment))
		output_line(cli, STYLE_PLAIN,
			"\"jitgate assess --propose\" prints a configuration for what is not.");
	return EXIT_DONE;
}

static int run_assess(const struct cli *cli, const struct arguments *arguments)
{
	_cleanup_(survey_done) struct survey survey = {};
	_cleanup_(freep) struct exposure *exposures = calloc(EXPOSURES_MAX, sizeof(*exposures));
	struct assessment assessment = { .survey = &survey, .exposures = exposures };
	int r;

	r = exposures ? survey_make(cli, arguments_get(arguments, "config"), &survey) : -ENOMEM;
	if (r < 0)
		return output_failure(r);
	if (survey.listeners_status < 0) {
		output_error("the kernel does not tell what listens: %s",
			strerror(-survey.listeners_status));
		return EXIT_REFUSED;
	}
	if (survey.listeners.is_cut) {
		output_error("more than %d sockets listen here, too many to be assessed; whose are "
			     "they? sudo ss -lntup",
			LISTENERS_MAX);
		return EXIT_REFUSED;
	}
	assess(&assessment);
	if (cli->json)
		return print_json(&assessment);
	if (!arguments_have(arguments, "propose"))
		return print(cli, &assessment);
	if (has_proposal(&assessment))
		write_proposal(&assessment, stdout);
	else
		output_error("there is nothing to propose: jitgate assess tells why");
	return EXIT_DONE;
}

static const struct option_spec assess_options[] = {
	{ .name = "propose", .help = "print a configuration for what is not guarded yet" },
	{ .name = "config",
		.value = "FILE",
		.help = "the agent's configuration (what it says, or " CONFIG_PATH ")" },
	{ 0 },
};

const struct command command_assess = {
	.name = "assess",
	.options = assess_options,
	.summary = "what is open to anyone here, and what would guard it",
	.text = "Looks at what listens on this machine's management ports (ssh, on whatever "
		"port, RDP, WinRM, VNC, databases, Docker and the like), and sorts it: "
		"configured; not configured, where just-in-time access would help; "
		"unsupported, where nobody reaches it or everyone is refused anyway. What is "
		"open at other ports is listed, too. Each has "
		"its reason: the host's own rules are read for it, as far as they can be told "
		"by reading. --propose prints a configuration, for three hours at most, that "
		"begins with mode = audit, or what to add to one that is there. Works without an "
		"agent; names of programs and the "
		"firewall's rules are root's to see. What a cloud's security group refuses can't "
		"be seen from here.",
	.example = "sudo jitgate assess --propose > agent.conf",
	.run = run_assess,
};
