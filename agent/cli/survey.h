/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What there is to see of this machine: the agent, its configuration, sockets that wait for
 * strangers, other programs' rules, interfaces. Gathered once, for whoever judges it; what could
 * not be read says why. Needs nothing of it to be there.
 */

#include <jansson.h>

#include "agent/cli/command.h"
#include "agent/cli/origin.h"
#include "agent/cli/processes.h"
#include "agent/common/config.h"
#include "nft/judgement.h"
#include "nft/links.h"

/* A port that is managed, by the agent's word or the configuration's. */
struct managed_port {
	struct port_range ports;
	unsigned protocols;
	struct prefix *allowed;
	size_t n_allowed;
	struct prefix *always_allow;
	size_t n_always_allow;
};

struct survey {
	const struct cli *cli;
	bool is_root;

	const char *config_path;
	int config_status; /* 0; -ENOENT, -EACCES, -EINVAL, … with config_error */
	char *config_error;
	struct config *config; /* NULL: see there */
	bool has_no_config; /* also where the shell has just made the file, to take a proposal */

	const char *socket;
	int agent_status; /* 0: status is there; VARLINK_ERROR: not for this user; -errno */
	json_t *status; /* the answer of Status */

	int gate_stands; /* 1, or 0; -errno: it can't be seen, by others than root */

	/* Of the agent where it answers, else of the configuration. */
	bool managed_is_known;
	bool is_audit;
	struct managed_port *managed;
	size_t n_managed;

	int listeners_status;
	struct listener_list listeners;
	char (*names)[PROCESS_NAME_MAX]; /* of the programs behind them */

	int firewall_status;
	struct firewall *firewall;
	struct links links;
	bool has_address[2]; /* IPv4, IPv6: one that others can reach */
	/* By which strangers reach it; NULL: there are several, or none. */
	struct address *outside_address[2];
	struct address addresses[2];

	struct origin origin;
};

/*
 * config_path NULL: the one that the agent says, or the default. Returns 0 or -ENOMEM; what else
 * fails is told by the fields. The survey must stay where it is.
 */
int survey_make(const struct cli *cli, const char *config_path, struct survey *survey);
void survey_done(struct survey *survey);

/* Calls a method of the agent, with no word on failure; consumes parameters. Returns as
 * varlink_client_call(), -ENOENT without an agent. */
int survey_ask(
	const struct survey *survey, const char *method, json_t *parameters, json_t **ret_reply);

/* The managed port that has this one; NULL: it is not managed. */
const struct managed_port *survey_find_managed(
	const struct survey *survey, uint16_t port, unsigned protocol);

/* True where the control plane's policy may name more ports: the agent alone knows them. */
bool survey_may_lack_policy(const struct survey *survey);

/* What the host's rules do with a first packet from a source (NULL: any). Only with a firewall. */
void survey_judge(const struct survey *survey, uint8_t family, uint8_t l4proto, uint16_t port,
	const struct address *source, struct judgement *ret);

/* An address of somebody or other: of no range that rules may treat apart. */
const struct address *stranger_address(uint8_t family);

/* True where the listener is an sshd, or most likely is. */
bool survey_is_ssh(const struct survey *survey, size_t listener);
