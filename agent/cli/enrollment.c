/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "agent/cli/client_conf.h"
#include "agent/cli/enrollment.h"
#include "agent/cli/output.h"
#include "agent/common/file.h"
#include "agent/common/settings.h"

#define TOKEN_NAME "feed-token"
#define TRUST_NAME "trust.jwks"
#define CA_NAME "feed-ca.pem"
#define CA_BYTES_MAX (1024 * 1024)

void enrollment_done(struct enrollment *enrollment)
{
	free(enrollment->config_path);
	free(enrollment->text);
	config_free(enrollment->config);
	free(enrollment->ca);
	free(enrollment->ca_text);
	free(enrollment->ca_path);
	free(enrollment->trust_path);
	free(enrollment->token_path);
	free(enrollment->reload_error);
	free(enrollment->other_config);
	enroll_trust_done(&enrollment->keys);
	http_free(enrollment->http);
	staged_done(&enrollment->staged);
	/* It has files in it where all went well. */
	if (enrollment->directory)
		(void)rmdir(enrollment->directory);
	free(enrollment->directory);
	closep(&enrollment->lock);
	json_decref(enrollment->reply);
}

int enrollment_refuse(int error, const char *format, ...)
{
	bool needs_root = (error == -EACCES || error == -EPERM) && geteuid() != 0;
	_cleanup_(freep) char *text = NULL;
	va_list list;
	int n;

	va_start(list, format);
	n = vasprintf(&text, format, list);
	va_end(list);
	if (n < 0) {
		text = NULL;
		return output_failure(-ENOMEM);
	}
	output_error("%s%s. Nothing was changed", text,
		needs_root ? ": this needs root (sudo jitgate ...)" : "");
	return EXIT_REFUSED;
}

/* A name beside agent.conf (allocated); NULL without memory. */
static char *path_beside(const char *config_path, const char *name)
{
	const char *slash = strrchr(config_path, '/');
	char *path;

	if (asprintf(&path, "%.*s%s", slash ? (int)(slash + 1 - config_path) : 0, config_path,
		    name) < 0)
		return NULL;
	return path;
}

/* What is beside it stands in it by its whole path. */
static int choose_config(struct enrollment *enrollment)
{
	const char *given = arguments_get(enrollment->arguments, "config");
	const char *path = given ? given : CONFIG_PATH;
	_cleanup_(freep) char *directory = NULL;

	if (path[0] == '/') {
		enrollment->config_path = strdup(path);
		return enrollment->config_path ? EXIT_DONE : output_failure(-ENOMEM);
	}
	directory = get_current_dir_name();
	if (!directory)
		return enrollment_refuse(-errno, "%s: %s", path, strerror(errno));
	if (asprintf(&enrollment->config_path, "%s/%s", directory, path) < 0) {
		enrollment->config_path = NULL;
		return output_failure(-ENOMEM);
	}
	return EXIT_DONE;
}

static int lock_directory(struct enrollment *enrollment)
{
	int fd = staged_lock(enrollment->config_path);

	if (fd == -ENOENT)
		return EXIT_DONE;
	if (fd == -EWOULDBLOCK)
		return enrollment_refuse(
			0, "another jitgate is at work beside %s", enrollment->config_path);
	if (fd < 0)
		return enrollment_refuse(fd, "%s: %s", enrollment->config_path, strerror(-fd));
	enrollment->lock = fd;
	return EXIT_DONE;
}

int enrollment_make_directory(struct enrollment *enrollment)
{
	_cleanup_(freep) char *directory = NULL;
	int r;

	if (enrollment->lock >= 0)
		return EXIT_DONE;
	directory = path_beside(enrollment->config_path, "");
	if (!directory)
		return output_failure(-ENOMEM);
	if (mkdir(directory, 0755) < 0)
		return errno == EEXIST
			? enrollment_refuse(
				  0, "%s is a link to nothing, or was made meanwhile", directory)
			: enrollment_refuse(
				  -errno, "%s can't be made: %s", directory, strerror(errno));
	enrollment->directory = TAKE_PTR(directory);
	r = lock_directory(enrollment);
	if (r != EXIT_DONE)
		return r;
	/* Whatever the umask: jitgate-poll reads what is in it. */
	if (chmod(enrollment->directory, 0755) < 0)
		return enrollment_refuse(-errno, "%s: %s", enrollment->directory, strerror(errno));
	return EXIT_DONE;
}

static int load_config(struct enrollment *enrollment)
{
	_cleanup_(freep) char *error = NULL;
	size_t n_bytes;
	int r;

	r = file_read(
		enrollment->config_path, SETTINGS_FILE_BYTES_MAX, &enrollment->text, &n_bytes);
	if (r == -ENOENT)
		return EXIT_DONE;
	r = config_load(enrollment->config_path, &enrollment->config, &error);
	if (r == 0 && enrollment->text)
		return EXIT_DONE;
	return enrollment_refuse(r, "%s", error ? error : strerror(-r));
}

/* Where the files are: as agent.conf says, or beside a new one. */
static int place_files(struct enrollment *enrollment)
{
	const struct config *config = enrollment->config;
	const char *configured = config ? config->feed.token : NULL;

	enrollment->trust_path =
		config ? strdup(config->trust) : path_beside(enrollment->config_path, TRUST_NAME);
	enrollment->token_path =
		configured ? strdup(configured) : path_beside(enrollment->config_path, TOKEN_NAME);
	/* systemd brings jitgate-poll the one of /etc/jitgate as a credential. */
	enrollment->token_is_told =
		configured || sd_booted() <= 0 || strcmp(enrollment->config_path, CONFIG_PATH) != 0;
	return enrollment->trust_path && enrollment->token_path ? EXIT_DONE
								: output_failure(-ENOMEM);
}

static int choose_url(struct enrollment *enrollment)
{
	const struct config *config = enrollment->config;
	const char *given = arguments_operand(enrollment->arguments, 0);
	const char *configured = config ? config->feed.url : NULL;
	const char *reason;

	enrollment->url = given ? given : configured;
	if (!enrollment->url)
		return output_usage(enrollment->cli,
			"which control plane? %s %s: jitgate enroll URL", enrollment->config_path,
			config ? "has no url below [feed]" : "is not there to tell");
	reason = http_url_reason(enrollment->url);
	if (reason)
		return output_usage(enrollment->cli, "\"%s\" %s", enrollment->url, reason);
	if (configured && !server_is_same(configured, enrollment->url) &&
		!arguments_have(enrollment->arguments, "replace"))
		return enrollment_refuse(0,
			"this machine is enrolled with %s (%s): --replace leaves it for %s",
			configured, enrollment->config_path, enrollment->url);
	return EXIT_DONE;
}

/* --ca, or what the same control plane has already. */
static int choose_ca(struct enrollment *enrollment)
{
	const struct config *config = enrollment->config;
	const char *given = arguments_get(enrollment->arguments, "ca");
	bool same = config && config->feed.url && config->feed.ca &&
		server_is_same(config->feed.url, enrollment->url);
	const char *path = given ? given : same ? config->feed.ca : NULL;
	int r;

	if (!path)
		return EXIT_DONE;
	enrollment->ca = strdup(path);
	enrollment->ca_path = given ? path_beside(enrollment->config_path, CA_NAME) : strdup(path);
	if (!enrollment->ca || !enrollment->ca_path)
		return output_failure(-ENOMEM);
	if (!given)
		return EXIT_DONE;
	/* jitgate-poll sees no home directories: it gets a copy. */
	r = file_read(given, CA_BYTES_MAX, &enrollment->ca_text, &enrollment->n_ca_bytes);
	return r < 0 ? enrollment_refuse(0, "%s: %s", given, strerror(-r)) : EXIT_DONE;
}

/* Its section would be there twice. */
static bool port_is_given(const struct enrollment *enrollment, const struct enroll_port *port)
{
	for (size_t i = 0; i < enrollment->n_ports; i++)
		if (enrollment->ports[i].number == port->number &&
			enrollment->ports[i].protocols == port->protocols)
			return true;
	return false;
}

static int read_ports(struct enrollment *enrollment)
{
	const char *text;
	size_t index = 0;

	if (enrollment->config && arguments_have(enrollment->arguments, "port"))
		return output_usage(enrollment->cli,
			"--port is for a new configuration: add a [port] section to %s",
			enrollment->config_path);
	while ((text = arguments_next(enrollment->arguments, "port", &index))) {
		struct enroll_port *port = &enrollment->ports[enrollment->n_ports];

		if (enrollment->n_ports == ENROLL_PORTS_MAX)
			return output_usage(
				enrollment->cli, "more than %d --port", ENROLL_PORTS_MAX);
		if (port_protocol_parse(text, &port->number, &port->protocols) < 0)
			return output_usage(
				enrollment->cli, "--port %s is not a port like 22/tcp", text);
		if (port_is_given(enrollment, port))
			return output_usage(enrollment->cli, "--port %s is given twice", text);
		enrollment->n_ports++;
	}
	return EXIT_DONE;
}

/* Whether files can be put beside what is at a path, or will be: before anybody is asked anything.
 */
static int check_place(const struct enrollment *enrollment, const char *path)
{
	_cleanup_(freep) char *target = realpath(path, NULL);
	char *directory;

	if (!target)
		target = strdup(path);
	if (!target)
		return output_failure(-ENOMEM);
	directory = dirname(target);
	/* Then it is to be made. */
	if (enrollment->lock < 0)
		directory = dirname(directory);
	if (faccessat(AT_FDCWD, directory, W_OK, AT_EACCESS) == 0)
		return EXIT_DONE;
	return enrollment_refuse(-errno, "%s: %s", directory, strerror(errno));
}

static int check_places(const struct enrollment *enrollment)
{
	int r;

	r = check_place(enrollment, enrollment->trust_path);
	if (r != EXIT_DONE || arguments_have(enrollment->arguments, "update-trust"))
		return r;
	r = check_place(enrollment, enrollment->token_path);
	return r == EXIT_DONE ? check_place(enrollment, enrollment->config_path) : r;
}

int enrollment_prepare(struct enrollment *enrollment)
{
	int r;

	r = choose_config(enrollment);
	if (r == EXIT_DONE)
		r = lock_directory(enrollment);
	if (r == EXIT_DONE)
		r = load_config(enrollment);
	if (r == EXIT_DONE)
		r = read_ports(enrollment);
	if (r == EXIT_DONE)
		r = choose_url(enrollment);
	if (r == EXIT_DONE)
		r = choose_ca(enrollment);
	if (r == EXIT_DONE)
		r = place_files(enrollment);
	return r == EXIT_DONE ? check_places(enrollment) : r;
}
