/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A machine that is to join a control plane: what it is now, and where what comes will go. */

#include "agent/cli/enroll_conf.h"
#include "agent/cli/enroll_trust.h"
#include "agent/cli/staged.h"
#include "agent/common/config.h"

struct enrollment {
	const struct cli *cli;
	const struct arguments *arguments;
	char *config_path; /* absolute */
	char *text; /* of agent.conf; NULL: there is none */
	struct config *config; /* the same, read */
	const char *url; /* the control plane, as given or as configured */
	char *ca; /* a file, or NULL */
	char *ca_text; /* to be kept beside agent.conf; NULL: it stays where it is */
	size_t n_ca_bytes;
	char *ca_path; /* where it will be */
	char *trust_path;
	char *token_path;
	bool token_is_told; /* agent.conf has to name it, and jitgate-poll reads it itself */
	int lock; /* no two at once; -1: there is no directory yet */
	struct enroll_port ports[ENROLL_PORTS_MAX];
	size_t n_ports;
	struct enroll_trust keys;
	struct http *http;
	char *directory; /* that had to be made, and goes where nothing comes into it */
	struct staged staged;
	int trust_index, ca_index, token_index, config_index;
	/* What the control plane answered, the strings borrowed from reply. */
	json_t *reply;
	const char *vm_id, *feed_url, *credential;
	bool reloaded;
	char *reload_error; /* why a running agent did not take it up */
	char *other_config; /* that a running agent goes by instead, or NULL */
};

/* Reads the machine's configuration and the command line: control plane, files, ports. All of
 * enrollment but cli, arguments and lock (-1) begins as zeros. Returns EXIT_DONE; another exit
 * code, having said why. */
int enrollment_prepare(struct enrollment *enrollment);
void enrollment_done(struct enrollment *enrollment);

/* Makes the directory of agent.conf, where only that is missing, and locks it. Returns as above. */
int enrollment_make_directory(struct enrollment *enrollment);

/* Says a sentence, and that nothing was changed; error (-errno, or 0) may add what to do. Returns
 * EXIT_REFUSED. */
int enrollment_refuse(int error, const char *format, ...) _printf_(2, 3);
