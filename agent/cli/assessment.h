/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Would just-in-time access help at a port? Azure's three answers, and the configuration that they
 * propose. Pure functions of what was seen. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "agent/cli/processes.h"
#include "agent/common/config.h"
#include "nft/judgement.h"

enum answer {
	ANSWER_CONFIGURED,
	ANSWER_NOT_CONFIGURED, /* it would help */
	ANSWER_UNSUPPORTED, /* it would not, or there is nothing to guard */
};

#define ASSESSMENT_REASON_MAX 1024
#define EXPOSURES_MAX 1024
#define ADDRESSES_TEXT_MAX 256

/* A port on which something waits, and what is known about who gets to it. */
struct exposure {
	uint16_t port;
	uint8_t l4proto;
	const char *service; /* "ssh"; NULL: none that one manages machines by, and not managed */
	char process[PROCESS_NAME_MAX]; /* "": not known */
	char addresses[ADDRESSES_TEXT_MAX]; /* "0.0.0.0, ::1" */
	bool is_outward; /* more than this host itself may reach it */
	bool managed_is_known;
	bool is_managed;
	bool is_audit;
	int gate_stands; /* 1, or 0; -errno: it can't be seen */

	/* By the host's other rules, over all families. */
	bool is_judged; /* they could be read */
	bool is_open; /* a stranger gets in for certain */
	bool may_be_open; /* a stranger may get in */
	bool may_be_reached; /* somebody may */
	char refused_by[PLACE_MAX];
	char published_by[PLACE_MAX]; /* destination NAT that leads it elsewhere */

	enum answer answer;
	char reason[ASSESSMENT_REASON_MAX];
};

/* What a port is usually for: "ssh"; NULL where it is none of those that one manages machines by
 * or keeps from strangers. */
const char *service_name(uint16_t port, uint8_t l4proto);

/* All of them: calls back with each. */
void services_foreach(
	void (*callback)(uint16_t port, uint8_t l4proto, const char *name, void *userdata),
	void *userdata);

/* Fills answer and reason. */
void exposure_assess(struct exposure *exposure);

const char *answer_name(enum answer answer); /* as in JSON */

/*
 * Writes the sections of agent.conf for those that are not configured: all of the file, or what to
 * add to one that is there, whose names are not taken again (NULL: it can't be read). source (NULL:
 * none) is where the asker sits.
 */
void proposal_write(FILE *file, const struct exposure *exposures, size_t n, bool is_whole,
	const struct config *config, const char *source);
