/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "agent/common/users.h"
#include "contrib/control-plane/check.h"
#include "contrib/control-plane/config.h"
#include "contrib/control-plane/jit/signer.h"

static void tell_denied(const struct passwd *user, const char *path, const char *unless)
{
	if (path && user_is_denied(user, path))
		fprintf(stderr,
			"jitgate-server: %s can't be read by the user " SERVER_USER
			", whom the service runs as: let its group read it (chgrp " SERVER_USER
			", chmod g+r), and into the directories above it%s\n",
			path, unless);
}

/* A unit may say otherwise, so this is no error. */
static void tell_all_denied(const char *path, const struct server_config *config)
{
	const struct passwd *user = geteuid() == 0 ? getpwnam(SERVER_USER) : NULL;

	if (!user)
		return;
	tell_denied(user, path, "");
	tell_denied(user, config->signing_key,
		", unless the unit brings it as a credential (LoadCredential=)");
	tell_denied(user, config->tls_certificate, "");
	tell_denied(user, config->tls_key, "");
	for (size_t i = 0; i < config->n_issuers; i++)
		tell_denied(user, config->issuers[i].jwks, "");
}

int check_config(const char *path)
{
	_cleanup_(server_config_freep) struct server_config *config = NULL;
	_cleanup_(signer_freep) struct signer *signer = NULL;
	_cleanup_(freep) char *certificate = NULL;
	_cleanup_(freep) char *error = NULL;
	_cleanup_(freep) char *key = NULL;
	int r;

	r = server_config_load(path, &config, &error);
	if (r >= 0)
		r = server_config_read_tls(config, &certificate, &key, &error);
	if (r >= 0)
		r = signer_load(config->signing_key, &signer, &error);
	if (r < 0) {
		fprintf(stderr, "jitgate-server: %s\n", error ? error : "out of memory");
		return EXIT_FAILURE;
	}
	tell_all_denied(path, config);
	printf("%s: ok (issuers: %zu, assignments: %zu)\n", path, config->n_issuers,
		config->n_assignments);
	return EXIT_SUCCESS;
}
