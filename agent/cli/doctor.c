/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Is all well, and what to do where it is not: doctor. */

#include <errno.h>

#include "agent/cli/doctor.h"
#include "agent/cli/output.h"

static void (*const checks[])(const struct survey *survey, struct findings *findings) = {
	doctor_kernel,
	doctor_agent,
	doctor_files,
	doctor_ports,
	doctor_firewall,
	doctor_clock,
	doctor_feed,
	doctor_connection,
};

static int print(const struct cli *cli, const struct findings *findings)
{
	int r;

	if (!findings_json(findings))
		return output_failure(-ENOMEM);
	if (cli->json)
		r = output_json(findings_json(findings));
	else
		r = findings_print(findings, cli) < 0 ? output_failure(-ENOMEM) : EXIT_DONE;
	if (r != EXIT_DONE)
		return r;
	return findings_have_problem(findings) ? EXIT_REFUSED : EXIT_DONE;
}

static int run_doctor(const struct cli *cli, const struct arguments *arguments)
{
	_cleanup_(findings_freep) struct findings *findings = NULL;
	_cleanup_(survey_done) struct survey survey = {};
	int r;

	r = findings_new(&findings);
	if (r == 0)
		r = survey_make(cli, arguments_get(arguments, "config"), &survey);
	if (r < 0)
		return output_failure(r);
	for (size_t i = 0; i < N_ELEMENTS(checks); i++)
		checks[i](&survey, findings);
	return print(cli, findings);
}

static const struct option_spec doctor_options[] = {
	{ .name = "config",
		.value = "FILE",
		.help = "the agent's configuration (what it says, or " CONFIG_PATH ")" },
	{ 0 },
};

const struct command command_doctor = {
	.name = "doctor",
	.options = doctor_options,
	.summary = "is all well here, and what to do where it is not",
	.text = "Looks whether the kernel can do what the gate needs, whether agent, "
		"configuration, trust file and clock are sound, whether something listens "
		"where a port is managed, whether other programs' rules refuse what a "
		"grant opens, whether the feed is there, and whether a new connection from "
		"where you sit would be let in. Each finding is ok, a warning, a problem or "
		"unknown, and says what to do. Nothing is changed. It works whether the "
		"agent runs or not; what only root can see is told as unknown to others. "
		"The exit code is 1 where there is a problem, and 0 otherwise.",
	.example = "sudo jitgate doctor",
	.run = run_doctor,
};
