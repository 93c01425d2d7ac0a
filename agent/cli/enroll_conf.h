/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* agent.conf as enrolling leaves it, as a function of what was there. */

#include <stdbool.h>
#include <stddef.h>

#include "agent/common/prefix.h"

#define ENROLL_PORTS_MAX 64

struct enroll_port {
	uint16_t number;
	unsigned protocols;
};

/* NULL: the key is not to be there. */
struct enroll_conf {
	const char *vm_id;
	const char *trust;
	const char *url;
	const char *ca;
	const char *token;
	const struct enroll_port *ports;
	size_t n_ports;
};

/* Whether two ids are of one machine: those that begin with "/" whatever their case. */
bool vm_id_is_same(const char *a, const char *b);

/* Whether agent.conf's text has a vm_id. Returns 0 or -ENOMEM. */
int enroll_conf_names(const char *text, bool *ret);

/*
 * The text of a new agent.conf: guards what ports names and nothing else, and that in audit mode,
 * so that joining a control plane locks nobody out. Returns 0 and the text (allocated, owned by the
 * caller), or -ENOMEM.
 */
int enroll_conf_new(const struct enroll_conf *wanted, char **ret);

/*
 * The text of an agent.conf that was there with no more than vm_id and [feed] changed; trust and
 * ports are not looked at. Returns as above.
 */
int enroll_conf_edit(const char *text, const struct enroll_conf *wanted, char **ret);
