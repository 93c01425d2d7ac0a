/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "agent/cli/conf_edit.h"
#include "agent/cli/enroll_conf.h"
#include "cleanup.h"

static void write_port(FILE *stream, const struct enroll_port *port)
{
	static const char *const names[] = {
		[PROTOCOL_TCP] = "tcp",
		[PROTOCOL_UDP] = "udp",
		[PROTOCOL_ANY] = "any",
	};

	fprintf(stream, "\n[port %s-%u]\nnumber = %u\nprotocol = %s\n", names[port->protocols],
		port->number, port->number, protocol_format(port->protocols));
}

static void write_key(FILE *stream, const char *key, const char *value)
{
	if (value)
		fprintf(stream, "%s = %s\n", key, value);
}

int enroll_conf_new(const struct enroll_conf *wanted, char **ret)
{
	char *text = NULL;
	size_t n_bytes;
	FILE *stream = open_memstream(&text, &n_bytes);

	if (!stream)
		return -ENOMEM;
	fprintf(stream,
		"# Written by \"jitgate enroll\". agent.conf.example tells of each key.\n\n"
		"[agent]\n");
	write_key(stream, "vm_id", wanted->vm_id);
	if (wanted->n_ports > 0)
		fprintf(stream,
			"# audit refuses nothing, and counts what it would (jitgate denied). When "
			"that is right:\n# \"jitgate enforce --confirm-within PT2M\", and "
			"\"jitgate confirm\" puts enforce here.\nmode = audit\n");
	write_key(stream, "trust", wanted->trust);
	fprintf(stream, "\n[feed]\n");
	write_key(stream, "url", wanted->url);
	write_key(stream, "ca", wanted->ca);
	write_key(stream, "token", wanted->token);
	for (size_t i = 0; i < wanted->n_ports; i++)
		write_port(stream, &wanted->ports[i]);
	if (fclose(stream) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	return 0;
}

bool vm_id_is_same(const char *a, const char *b)
{
	return a[0] == '/' ? strcasecmp(a, b) == 0 : strcmp(a, b) == 0;
}

int enroll_conf_names(const char *text, bool *ret)
{
	_cleanup_(freep) char *vm_id = NULL;
	int r;

	r = conf_get(text, "agent", "vm_id", &vm_id);
	*ret = vm_id != NULL;
	return r;
}

/* An id is left as its owner writes it. */
static int edit_vm_id(char **text, const char *vm_id)
{
	_cleanup_(freep) char *former = NULL;
	int r;

	r = conf_get(*text, "agent", "vm_id", &former);
	if (r < 0 || (former && vm_id_is_same(former, vm_id)))
		return r;
	return conf_set(text, "agent", "vm_id", vm_id);
}

/* A control plane is asked, never a file. */
static int edit_kind(char **text)
{
	_cleanup_(freep) char *kind = NULL;
	int r;

	r = conf_get(*text, "feed", "kind", &kind);
	if (r < 0 || !kind || strcmp(kind, "static") != 0)
		return r;
	return conf_set(text, "feed", "kind", "poll");
}

static int edit(char **text, const char *key, const char *value)
{
	return value ? conf_set(text, "feed", key, value) : conf_unset(text, "feed", key);
}

int enroll_conf_edit(const char *text, const struct enroll_conf *wanted, char **ret)
{
	_cleanup_(freep) char *edited = strdup(text);
	int r;

	if (!edited)
		return -ENOMEM;
	r = edit_vm_id(&edited, wanted->vm_id);
	if (r == 0)
		r = edit(&edited, "url", wanted->url);
	if (r == 0)
		r = edit_kind(&edited);
	if (r == 0)
		r = edit(&edited, "ca", wanted->ca);
	if (r == 0)
		r = edit(&edited, "token", wanted->token);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(edited);
	return 0;
}
