/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* How far a request at the control plane has come, by what the server tells of its ports. */

#include <jansson.h>
#include <stddef.h>

enum request_stage {
	REQUEST_ENDED, /* refused for good, denied, revoked, expired */
	REQUEST_PENDING, /* someone must approve */
	REQUEST_GRANTED, /* signed; the machine has not fetched it */
	REQUEST_DELIVERED,
	REQUEST_OPEN,
};

/* Of a port: an element of virtualMachines[].ports[]. */
enum request_stage port_stage(const json_t *port);

/* One word for a table: "pending", "granted", "open", "denied", "replaced", … */
const char *port_state(const json_t *port);

/* Of the whole: that of the port that has come least far; REQUEST_PENDING where it has no port. */
enum request_stage request_stage(const json_t *request);

/* Why the machine's agent does not open the port yet; NULL where nothing stands in its way. */
const char *request_obstacle(const json_t *request);

/* The port that stands for the whole, or NULL; borrowed. */
const json_t *request_decisive_port(const json_t *request);

/* Why a port has ended: a code for machines and a sentence for people, without a full stop, in
 * text.
 */
const char *request_end_code(const json_t *port);
const char *request_end_describe(
	const json_t *request, const json_t *port, char *text, size_t n_text);

/* The name of a machine: the last part of its id. */
const char *vm_name(const char *id);

/* The sources of a port as text (allocated); NULL without memory. */
char *port_sources(const json_t *port);
