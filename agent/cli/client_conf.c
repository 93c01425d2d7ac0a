/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cli/client_conf.h"
#include "agent/cli/http.h"
#include "agent/cli/input.h"
#include "agent/common/bearer.h"
#include "agent/common/settings.h"

char *client_conf_path(void)
{
	const char *base = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	char *path;
	int n;

	/* A relative one is to be ignored (XDG Base Directory Specification). */
	if (base && base[0] == '/')
		n = asprintf(&path, "%s/jitgate/client.conf", base);
	else if (home && home[0] == '/')
		n = asprintf(&path, "%s/.config/jitgate/client.conf", home);
	else
		return NULL;
	return n < 0 ? NULL : path;
}

static size_t length_without_slashes(const char *url)
{
	size_t n = strlen(url);

	while (n > 0 && url[n - 1] == '/')
		n--;
	return n;
}

bool server_is_same(const char *a, const char *b)
{
	size_t n = length_without_slashes(a);

	return n == length_without_slashes(b) && memcmp(a, b, n) == 0;
}

static int read_server(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	const char *reason = http_url_reason(value);

	if (reason)
		return settings_fail(settings, "%s: \"%s\" %s", key->name, value, reason);
	return settings_set_string(field, value);
}

static int read_token(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	/* What is wrong with it is not told by showing it. */
	if (!bearer_is_valid(value))
		return settings_fail(settings, "%s is empty, too long, or no token", key->name);
	return settings_set_string(field, value);
}

#define CLIENT(field) .offset = offsetof(struct client_conf, field)

static const struct settings_key client_keys[] = {
	{ "server", read_server, CLIENT(server) },
	{ "token", read_token, CLIENT(token) },
	{ "ca", settings_read_path, CLIENT(ca) },
};

static const struct settings_section sections[] = {
	{ .name = "client", .keys = client_keys, .n_keys = N_ELEMENTS(client_keys) },
};

static const struct settings_format format = {
	.sections = sections,
	.n_sections = N_ELEMENTS(sections),
};

_printf_(3, 4) static int fail(char **ret_error, int error, const char *text, ...)
{
	va_list list;

	va_start(list, text);
	if (vasprintf(ret_error, text, list) < 0)
		*ret_error = NULL;
	va_end(list);
	return error;
}

/* A pipe is whoever's made it. */
static int check_secrecy(const char *path, char **ret_error)
{
	struct stat status;

	if (stat(path, &status) < 0)
		return fail(ret_error, -errno, "%s: %s", path, strerror(errno));
	if (S_ISREG(status.st_mode) && (status.st_mode & 077))
		return fail(ret_error, -EPERM,
			"%s has a token in it, and others may read it: chmod 600 %s", path, path);
	return 0;
}

int client_conf_load(const char *path, struct client_conf *conf, char **ret_error)
{
	int r;

	r = settings_load(path, &format, conf, ret_error);
	if (r < 0)
		return r;
	return conf->token ? check_secrecy(path, ret_error) : 0;
}

static void secret_free(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void client_conf_done(struct client_conf *conf)
{
	free(conf->server);
	free(conf->ca);
	secret_free(conf->token);
	*conf = (struct client_conf){ 0 };
}

int token_load(const char *path, char **ret, char **ret_error)
{
	_cleanup_(freep) char *text = NULL;
	size_t n_bytes;
	int r;

	*ret_error = NULL;
	if (strcmp(path, "-") != 0) {
		r = check_secrecy(path, ret_error);
		if (r < 0)
			return r;
	}
	if (strcmp(path, "-") == 0 && isatty(STDIN_FILENO))
		r = input_ask_secret("Token: ", &text, &n_bytes);
	else
		r = input_read(path, BEARER_FILE_BYTES_MAX, &text, &n_bytes);
	if (r < 0)
		return fail(ret_error, r, "%s: %s", input_name(path), strerror(-r));
	if (!bearer_trim(text, n_bytes))
		return fail(ret_error, -EINVAL, "%s does not hold a token and nothing else",
			input_name(path));
	*ret = TAKE_PTR(text);
	return 0;
}
