/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Can the kernel do what the gate needs? */

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

#include "agent/cli/doctor.h"
#include "nft/trial.h"

/* The first kernel with "socket wildcard". */
#define KERNEL_MAJOR 5
#define KERNEL_MINOR 10

static bool is_old(const struct utsname *system)
{
	int major = 0, minor = 0;

	if (sscanf(system->release, "%d.%d", &major, &minor) != 2)
		return false;
	return major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR);
}

static void tell_refused(
	const struct survey *survey, struct findings *findings, const struct trial *trial, int r)
{
	if ((r == -EPERM || r == -EACCES) && !survey->is_root) {
		findings_add(findings, "kernel", VERDICT_UNKNOWN,
			"whether the kernel can make the gate can't be tried without root here");
		findings_advise(findings, "sudo jitgate doctor");
		return;
	}
	if (r == -EPERM || r == -EACCES) {
		findings_add(findings, "kernel", VERDICT_UNKNOWN,
			"no network namespace may be made here to try the gate in: a container?");
		findings_advise(findings,
			"jitgated needs CAP_NET_ADMIN in the network namespace that it guards");
		return;
	}
	findings_add(findings, "kernel", VERDICT_PROBLEM,
		"the kernel does not make the gate: %s: %s", trial->what, strerror(-r));
	findings_advise(findings,
		"it needs nf_tables with inet tables, sets with intervals and timeouts, and the "
		"expressions socket, fib, log, limit and ct (modules nf_tables, nft_socket, "
		"nft_fib_inet, nft_log, nft_limit, nft_ct); a kernel made for containers may "
		"lack them");
}

void doctor_kernel(const struct survey *survey, struct findings *findings)
{
	struct utsname system;
	struct trial trial;
	int r;

	if (uname(&system) == 0 && is_old(&system)) {
		findings_add(findings, "kernel", VERDICT_PROBLEM,
			"Linux %s is too old: the gate needs %d.%d", system.release, KERNEL_MAJOR,
			KERNEL_MINOR);
		findings_advise(findings, "install a newer kernel of your distribution");
		return;
	}
	r = trial_run(&trial);
	if (r < 0) {
		tell_refused(survey, findings, &trial, r);
		return;
	}
	findings_add(findings, "kernel", VERDICT_OK, "Linux %s makes the gate%s", system.release,
		trial.owned ? ", and lets no other program change it"
			    : "; what other programs change in it (possible before Linux 6.9) is "
			      "put back at once");
}
