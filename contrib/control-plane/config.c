/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The tables of server.conf. */

#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <string.h>

#include "agent/common/confine.h"
#include "agent/common/file.h"
#include "agent/common/settings.h"
#include "contrib/control-plane/certificate.h"
#include "contrib/control-plane/config.h"
#include "contrib/control-plane/http/http.h"

#define TLS_FILE_BYTES_MAX (256 * 1024)
#define CONNECTIONS_DEFAULT 20000
#define RATE_DEFAULT 20
#define RETENTION_DEFAULT (INT64_C(90) * 24 * 3600)
#define RETENTION_MIN (INT64_C(24) * 3600)

static int read_listen(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	enum http_reach reach;

	if (http_listen_check(value, &reach) < 0)
		return settings_fail(settings,
			"%s must be an address and port, as 127.0.0.1:8443 or [::]:8443, or the "
			"absolute path of a socket, not \"%s\"",
			key->name, value);
	return settings_set_string(field, value);
}

/* Links and enrollment are built from it. */
static int read_url(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	size_t n_bytes = strlen(value);
	bool is_https = strncmp(value, "https://", 8) == 0 && value[8];
	bool is_http = strncmp(value, "http://", 7) == 0 && value[7];

	if ((!is_https && !is_http) || n_bytes > 1024 || strpbrk(value, " \t\"<>?#") ||
		value[n_bytes - 1] == '/')
		return settings_fail(settings,
			"%s must be as https://jitgate.example.org, without a slash at its end",
			key->name);
	return settings_set_string(field, value);
}

static int read_role(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	enum role role;

	if (role_parse(value, &role) < 0)
		return settings_fail(settings,
			"%s must be reader, requester, approver or administrator, not \"%s\"",
			key->name, value);
	*(enum role *)field = role;
	return 0;
}

static int read_scope(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	if (scope_check(value) < 0)
		return settings_fail(settings,
			"%s must be / or as /subscriptions/S, without a slash at its end",
			key->name);
	return settings_set_string(field, value);
}

#define SERVER(field) .offset = offsetof(struct server_config, field)
#define ISSUER(field) .offset = offsetof(struct issuer, field)
#define RULE(field) .offset = offsetof(struct assignment_rule, field)

static const struct settings_key server_keys[] = {
	{ "listen", read_listen, SERVER(listen) },
	{ "url", read_url, SERVER(url) },
	{ "state", settings_read_path, SERVER(state) },
	{ "signing_key", settings_read_path, SERVER(signing_key) },
	{ "tls_certificate", settings_read_path, SERVER(tls_certificate) },
	{ "tls_key", settings_read_path, SERVER(tls_key) },
	{ "max_connections", settings_read_number, SERVER(max_connections), .min = 64,
		.max = 1000000 },
	{ "max_connections_per_address", settings_read_number, SERVER(max_connections_per_address),
		.max = 1000000 },
	{ "rate_limit", settings_read_number, SERVER(rate_limit), .max = 100000 },
	{ "activity_retention", settings_read_duration, SERVER(activity_retention),
		.min = RETENTION_MIN },
};

static const struct settings_key issuer_keys[] = {
	{ "issuer", settings_read_string, ISSUER(issuer), .required = true },
	{ "audience", settings_read_string, ISSUER(audience), .required = true },
	{ "jwks", settings_read_path, ISSUER(jwks), .required = true },
	{ "principal_claim", settings_read_string, ISSUER(principal_claim), .max = 64 },
	{ "groups_claim", settings_read_string, ISSUER(groups_claim), .max = 64 },
};

static const struct settings_key assignment_keys[] = {
	{ "principal", settings_read_string, RULE(principal), .max = ISSUER_PRINCIPAL_BYTES_MAX },
	{ "group", settings_read_string, RULE(group), .max = ISSUER_PRINCIPAL_BYTES_MAX },
	{ "role", read_role, RULE(assignment.role), .required = true },
	{ "scope", read_scope, RULE(assignment.scope), .required = true },
};

static int issuer_begin(struct settings *settings, const char *name, void *target, void **ret)
{
	struct server_config *config = target;
	/* Counted before it is whole, so that server_config_free() sees it. */
	struct issuer *issuer = &config->issuers[config->n_issuers++];

	(void)settings;
	*ret = issuer;
	issuer->name = strdup(name);
	if (!issuer->name || settings_set_default(&issuer->groups_claim, "groups") < 0 ||
		settings_set_default(&issuer->principal_claim, "email") < 0)
		return -ENOMEM;
	return 0;
}

static int issuer_end(struct settings *settings, void *filled)
{
	_cleanup_(freep) char *error = NULL;
	int r = issuer_load_keys(filled, &error);

	if (r == -ENOMEM)
		return r;
	return r < 0 ? settings_fail_section(settings, "%s", error ? error : strerror(-r)) : 0;
}

static int assignment_begin(struct settings *settings, const char *name, void *target, void **ret)
{
	struct server_config *config = target;
	struct assignment_rule *rule = &config->assignments[config->n_assignments++];

	(void)settings;
	*ret = rule;
	rule->name = strdup(name);
	return rule->name ? 0 : -ENOMEM;
}

static int assignment_end(struct settings *settings, void *filled)
{
	const struct assignment_rule *rule = filled;

	if (!rule->principal == !rule->group)
		return settings_fail_section(
			settings, "[assignment %s] needs either principal or group", rule->name);
	return 0;
}

static const struct settings_section sections[] = {
	{ .name = "server", .keys = server_keys, .n_keys = N_ELEMENTS(server_keys) },
	{ .name = "issuer",
		.keys = issuer_keys,
		.n_keys = N_ELEMENTS(issuer_keys),
		.begin = issuer_begin,
		.n_max = SERVER_ISSUERS_MAX,
		.example = "entra",
		.end = issuer_end },
	{ .name = "assignment",
		.keys = assignment_keys,
		.n_keys = N_ELEMENTS(assignment_keys),
		.begin = assignment_begin,
		.n_max = SERVER_ASSIGNMENTS_MAX,
		.example = "operators",
		.end = assignment_end },
};

/* A systemd credential of that name, where there is one (https://systemd.io/CREDENTIALS). */
static int set_credential(char **field, const char *name)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");

	if (*field || !directory)
		return 0;
	if (asprintf(field, "%s/%s", directory, name) < 0) {
		*field = NULL;
		return -ENOMEM;
	}
	if (access(*field, F_OK) < 0)
		free(TAKE_PTR(*field));
	return 0;
}

static int set_url(struct settings *settings, struct server_config *config, enum http_reach reach)
{
	if (config->url)
		return 0;
	if (*config->listen == '/' || reach == HTTP_REACH_ANY)
		return settings_fail_file(settings,
			"listen = %s names no address: url must say how agents and people reach "
			"the server",
			config->listen);
	if (asprintf(&config->url, "%s://%s", config->tls_certificate ? "https" : "http",
		    config->listen) < 0) {
		config->url = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int config_end(struct settings *settings, void *target)
{
	struct server_config *config = target;
	enum http_reach reach = HTTP_REACH_LOCAL;

	if (set_credential(&config->signing_key, "signing_key") < 0 ||
		set_credential(&config->tls_certificate, "tls_certificate") < 0 ||
		set_credential(&config->tls_key, "tls_key") < 0 ||
		settings_set_default(&config->listen, "127.0.0.1:8443") < 0 ||
		settings_set_default(&config->state, "/var/lib/jitgate-server/state.sqlite") < 0 ||
		settings_set_default(&config->signing_key, "/etc/jitgate-server/signing.jwk") < 0)
		return -ENOMEM;
	if (!config->tls_certificate != !config->tls_key)
		return settings_fail_file(
			settings, "tls_certificate and tls_key: set both, or neither");
	/* read_listen() has seen to it that it is one. */
	(void)http_listen_check(config->listen, &reach);
	if (!config->tls_certificate && reach != HTTP_REACH_LOCAL)
		return settings_fail_file(settings,
			"listen = %s is reached from elsewhere: set tls_certificate and tls_key, "
			"or listen on a loopback address or a socket behind a proxy that has them",
			config->listen);
	return set_url(settings, config, reach);
}

static const struct settings_format format = {
	.sections = sections,
	.n_sections = N_ELEMENTS(sections),
	.end = config_end,
};

int server_config_load(const char *path, struct server_config **ret, char **ret_error)
{
	_cleanup_(server_config_freep) struct server_config *config = calloc(1, sizeof(*config));
	int r;

	*ret_error = NULL;
	if (!config)
		return -ENOMEM;
	config->max_connections = CONNECTIONS_DEFAULT;
	config->rate_limit = RATE_DEFAULT;
	config->activity_retention = RETENTION_DEFAULT;
	r = settings_load(path, &format, config, ret_error);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(config);
	return 0;
}

static _printf_(3, 4) int fail(char **ret_error, int error, const char *text, ...)
{
	va_list arguments;

	va_start(arguments, text);
	if (vasprintf(ret_error, text, arguments) < 0)
		*ret_error = NULL;
	va_end(arguments);
	return error;
}

static int read_file(const char *path, char **ret, char **ret_error)
{
	size_t n_bytes;
	int r = file_read(path, TLS_FILE_BYTES_MAX, ret, &n_bytes);

	return r < 0 ? fail(ret_error, r, "%s: %s", path, strerror(-r)) : 0;
}

static int check_tls(const struct server_config *config, const char *certificate, const char *key,
	char **ret_error)
{
	switch (certificate_check(certificate, key)) {
	case 0:
		return 0;
	case CERTIFICATE_FAULT_CERTIFICATE:
		return fail(ret_error, -EINVAL, "%s: there is no certificate (PEM) in it",
			config->tls_certificate);
	case CERTIFICATE_FAULT_KEY:
		return fail(ret_error, -EINVAL,
			"%s: there is no private key (PEM) in it, or it takes a passphrase",
			config->tls_key);
	case CERTIFICATE_FAULT_PAIR:
		return fail(ret_error, -EINVAL, "%s: not the key of the certificate in %s",
			config->tls_key, config->tls_certificate);
	default:
		return -ENOMEM;
	}
}

int server_config_read_tls(const struct server_config *config, char **ret_certificate,
	char **ret_key, char **ret_error)
{
	_cleanup_(freep) char *certificate = NULL;
	_cleanup_(freep) char *key = NULL;
	int r;

	*ret_error = NULL;
	*ret_certificate = *ret_key = NULL;
	if (!config->tls_certificate)
		return 0;
	r = read_file(config->tls_certificate, &certificate, ret_error);
	if (r < 0)
		return r;
	r = read_file(config->tls_key, &key, ret_error);
	if (r == 0)
		r = check_tls(config, certificate, key, ret_error);
	if (r < 0)
		return r;
	*ret_certificate = TAKE_PTR(certificate);
	*ret_key = TAKE_PTR(key);
	return 0;
}

#define SWAP(field) \
	do { \
		__typeof__(config->field) swapped_ = config->field; \
		config->field = from->field; \
		from->field = swapped_; \
	} while (0)

void server_config_take(struct server_config *config, struct server_config *from)
{
	for (size_t i = 0; i < SERVER_ISSUERS_MAX; i++)
		SWAP(issuers[i]);
	for (size_t i = 0; i < SERVER_ASSIGNMENTS_MAX; i++)
		SWAP(assignments[i]);
	SWAP(n_issuers);
	SWAP(n_assignments);
	SWAP(signing_key);
	/* Whether there is TLS at all is settled at the start. */
	if (!config->tls_certificate == !from->tls_certificate) {
		SWAP(tls_certificate);
		SWAP(tls_key);
	}
}

int server_config_become_owner(const struct server_config *config, uint64_t kept)
{
	_cleanup_(freep) char *path = strdup(config->state);

	return path ? confine_to_owner(dirname(path), kept) : -ENOMEM;
}

struct server_config *server_config_free(struct server_config *config)
{
	if (!config)
		return NULL;
	for (size_t i = 0; i < config->n_issuers; i++)
		issuer_done(&config->issuers[i]);
	for (size_t i = 0; i < config->n_assignments; i++) {
		free(config->assignments[i].name);
		free(config->assignments[i].principal);
		free(config->assignments[i].group);
		free(config->assignments[i].assignment.scope);
	}
	free(config->listen);
	free(config->url);
	free(config->state);
	free(config->signing_key);
	free(config->tls_certificate);
	free(config->tls_key);
	free(config);
	return NULL;
}
