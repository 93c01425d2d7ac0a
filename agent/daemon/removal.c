/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/config.h"
#include "agent/common/confine.h"
#include "agent/daemon/audit.h"
#include "agent/daemon/ledger.h"
#include "agent/daemon/removal.h"
#include "nft/gate.h"

/* A daemon that runs holds its ledger's lock. Only that counts: there may be no ledger at all. */
static int lock(const char *directory, struct ledger **ledger)
{
	_cleanup_(freep) char *path = NULL;
	int status;

	if (asprintf(&path, "%s/ledger", directory) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	status = ledger_open(path, ledger);
	return status == -EWOULDBLOCK || status == -ENOMEM ? status : 0;
}

static int remove_gate(void)
{
	_cleanup_(gate_freep) struct gate *gate = NULL;
	int status = gate_open(&gate);

	return status < 0 ? status : gate_remove(gate);
}

static void record(const struct config *config)
{
	_cleanup_(audit_freep) struct audit *audit = NULL;
	int file_error = 0;
	int status = audit_open(config, NULL, NULL, &audit, &file_error);

	if (status == 0)
		audit_write(audit,
			&(struct audit_record){
				.type = AUDIT_GATE_REMOVED,
				.message = "The gate was removed (jitgated --remove-gate): managed "
					   "ports are open",
			});
	if (status == 0)
		status = file_error;
	if (status < 0)
		fprintf(stderr, "jitgated: can't record this in %s: %s\n", config->log_directory,
			strerror(-status));
}

static int fail(int status)
{
	if (status == -EWOULDBLOCK)
		fprintf(stderr,
			"jitgated: the gate stays: a jitgated runs, and would put it back. Stop it "
			"first, with 'systemctl stop jitgated'\n");
	else if (status == -EPERM)
		fprintf(stderr,
			"jitgated: the gate stays: CAP_NET_ADMIN is missing, or the program that "
			"owns table inet jitgate still runs\n");
	else
		fprintf(stderr, "jitgated: can't remove the gate: %s\n", strerror(-status));
	return EXIT_FAILURE;
}

int removal_run(const char *config_path)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(ledger_freep) struct ledger *ledger = NULL;
	_cleanup_(freep) char *error = NULL;
	const char *directory;
	int status;

	status = config_load(config_path, &config, &error);
	if (status < 0 && status != -ENOENT)
		fprintf(stderr, "jitgated: %s: going by defaults\n",
			error ? error : "out of memory");
	directory = config ? config->state_directory : CONFIG_STATE_DIRECTORY;
	/* The ledger and the record stay the daemon's to write. */
	status = confine_to_owner(directory, CAPABILITY(CAP_NET_ADMIN));
	if (status == 0)
		status = lock(directory, &ledger);
	if (status == 0)
		status = remove_gate();
	if (status == -ENOENT) {
		printf("There is no gate.\n");
		return EXIT_SUCCESS;
	}
	if (status < 0)
		return fail(status);
	if (config)
		record(config);
	printf("The gate is removed: managed ports are open, unless another rule shuts them.\n");
	return EXIT_SUCCESS;
}
