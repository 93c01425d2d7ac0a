/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <syslog.h>

#include "agent/common/log.h"
#include "agent/common/times.h"
#include "contrib/control-plane/admit.h"
#include "contrib/control-plane/feed/feed.h"
#include "contrib/control-plane/jit/jit.h"
#include "contrib/control-plane/jit/renewal.h"
#include "contrib/control-plane/probes.h"

/* How long the store may take to tell what there is. */
#define BEGIN_USEC (60 * USEC_PER_SEC)
/* Of a limit per second: what may come at once, and how much more an address may. */
#define BURST_SECONDS 4
#define STRANGERS_FACTOR 5

static int fail(int error, const char *what, const char *reason)
{
	log_line(LOG_ERR, "%s: %s", what, reason ? reason : strerror(-error));
	return error;
}

static void server_configure(struct server *server)
{
	identity_configure(server->identity, server->config->issuers, server->config->n_issuers,
		server->config->assignments, server->config->n_assignments);
}

static int server_begin_jit(struct server *server)
{
	_cleanup_(signer_freep) struct signer *signer = NULL;
	_cleanup_(freep) char *error = NULL;
	int r;

	r = signer_load(server->config->signing_key, &signer, &error);
	if (r < 0)
		return fail(r, "signing_key", error);
	r = leases_new(server->store, &server->leases);
	if (r < 0)
		return fail(r, "leases", NULL);
	server->activity = (struct activity){
		.store = server->store,
		.leases = server->leases,
		.url = server->config->url,
		.retention = server->config->activity_retention,
	};
	r = jit_new(
		&(struct jit_options){
			.event = server->event,
			.store = server->store,
			.leases = server->leases,
			.activity = &server->activity,
			.url = server->config->url,
			.signer = signer,
		},
		&server->jit);
	if (r < 0)
		return fail(r, "jit", NULL);
	TAKE_PTR(signer);
	return 0;
}

static int server_begin_feed(struct server *server)
{
	int r = feed_new(
		&(struct feed_options){
			.event = server->event,
			.store = server->store,
			.leases = server->leases,
			.jit = server->jit,
			.activity = &server->activity,
			.server = server,
			.url = server->config->url,
		},
		&server->feed);

	return r < 0 ? fail(r, "feed", NULL) : 0;
}

static int server_begin_parts(struct server *server)
{
	double rate = (double)server->config->rate_limit;
	int r;

	if (rate > 0) {
		server->callers = rate_table_new(rate, rate * BURST_SECONDS);
		server->strangers = rate_table_new(
			rate * STRANGERS_FACTOR, rate * STRANGERS_FACTOR * BURST_SECONDS);
		if (!server->callers || !server->strangers)
			return fail(-ENOMEM, "rate_limit", NULL);
	}
	r = identity_new(server->store, &server->identity);
	if (r < 0)
		return fail(r, "identity", NULL);
	server_configure(server);
	r = server_begin_jit(server);
	if (r == 0)
		r = server_begin_feed(server);
	if (r < 0)
		return r;
	r = probes_add_metrics(server);
	if (r == 0)
		r = metrics_add(&server->metrics, feed_write_metrics, server->feed);
	return r < 0 ? fail(r, "metrics", NULL) : 0;
}

struct barrier {
	bool is_passed;
	int error;
};

static void on_barrier(int error, const struct store_range_result *result, void *userdata)
{
	struct barrier *barrier = userdata;

	(void)result;
	barrier->is_passed = true;
	barrier->error = error;
}

/* Handlers of a store are called in the order of the calls: when this one's is, all watches have
 * been told what there is. */
static int server_await_store(struct server *server)
{
	const struct store_range range = { .from = "begin", .limit = 1 };
	const uint64_t end_usec = clock_monotonic_usec() + BEGIN_USEC;
	struct barrier barrier = { 0 };
	int r;

	r = store_range(server->store, &range, on_barrier, &barrier);
	while (r >= 0 && !barrier.is_passed) {
		r = sd_event_run(server->event, USEC_PER_SEC);
		if (r >= 0 && clock_monotonic_usec() > end_usec)
			r = -ETIMEDOUT;
	}
	if (r >= 0)
		r = barrier.error;
	return r < 0 ? fail(r, server->config->state, NULL) : 0;
}

static int server_serve(struct server *server)
{
	const struct server_config *config = server->config;
	const struct {
		const struct http_route *routes;
		void *userdata;
	} tables[] = {
		{ probes_routes, server },
		{ azure_routes, server->jit },
		{ request_routes, server->jit },
		{ activity_routes, &server->activity },
		{ feed_routes, server->feed },
	};
	_cleanup_(freep) char *certificate = NULL;
	_cleanup_(freep) char *key = NULL;
	_cleanup_(freep) char *error = NULL;
	struct http_options options = {
		.listen = config->listen,
		.admit = admit_request,
		.userdata = server,
		.n_connections_max = (unsigned)config->max_connections,
		.n_connections_per_address = (unsigned)config->max_connections_per_address,
	};
	int r;

	r = server_config_read_tls(config, &certificate, &key, &error);
	if (r < 0)
		return fail(r, "TLS", error);
	options.certificate = certificate;
	options.key = key;
	r = http_server_new(server->event, &options, &server->http, &error);
	for (size_t i = 0; r >= 0 && i < N_ELEMENTS(tables); i++)
		r = http_server_add_routes(server->http, tables[i].routes, tables[i].userdata);
	return r < 0 ? fail(r, "listen", error) : 0;
}

int server_new(
	sd_event *event, const char *config_path, struct server_config *config, struct server **ret)
{
	_cleanup_(server_freep) struct server *server = calloc(1, sizeof(*server));
	_cleanup_(freep) char *error = NULL;
	int r;

	if (!server) {
		server_config_free(config);
		return -ENOMEM;
	}
	server->event = sd_event_ref(event);
	server->config_path = config_path;
	server->config = config;
	r = store_open(event, config->state, &server->store, &error);
	if (r < 0)
		return fail(r, "state", error);
	r = server_begin_parts(server);
	if (r >= 0)
		r = server_await_store(server);
	if (r >= 0)
		r = server_serve(server);
	if (r < 0)
		return r;
	renewal_begin(server->jit);
	*ret = TAKE_PTR(server);
	return 0;
}

struct server *server_free(struct server *server)
{
	if (!server)
		return NULL;
	http_server_free(server->http);
	feed_free(server->feed);
	jit_free(server->jit);
	identity_free(server->identity);
	store_free(server->store);
	leases_free(server->leases);
	rate_table_free(server->callers);
	rate_table_free(server->strangers);
	server_config_free(server->config);
	sd_event_unref(server->event);
	free(server);
	return NULL;
}

static bool differ(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) != 0 : a != b;
}

/* What is fixed while the server runs. */
static void tell_what_waits(const struct server_config *old, const struct server_config *new)
{
	if (differ(old->listen, new->listen) || differ(old->url, new->url) ||
		differ(old->state, new->state) || old->max_connections != new->max_connections ||
		old->max_connections_per_address != new->max_connections_per_address ||
		old->rate_limit != new->rate_limit ||
		old->activity_retention != new->activity_retention ||
		!old->tls_certificate != !new->tls_certificate)
		log_line(LOG_WARNING,
			"of [server] only signing_key, tls_certificate and tls_key are taken over "
			"without a restart; another key has changed");
}

static int server_reload_tls(struct server *server, const struct server_config *config)
{
	_cleanup_(freep) char *certificate = NULL;
	_cleanup_(freep) char *key = NULL;
	_cleanup_(freep) char *error = NULL;
	int r;

	if (!server->config->tls_certificate || !config->tls_certificate)
		return 0;
	r = server_config_read_tls(config, &certificate, &key, &error);
	if (r < 0)
		return fail(r, "TLS", error);
	r = http_server_set_certificate(server->http, certificate, key);
	return r < 0 ? fail(r, config->tls_certificate, "no certificate that fits its key") : 0;
}

int server_reload(struct server *server)
{
	_cleanup_(server_config_freep) struct server_config *config = NULL;
	_cleanup_(signer_freep) struct signer *signer = NULL;
	_cleanup_(freep) char *error = NULL;
	int r;

	r = server_config_load(server->config_path, &config, &error);
	if (r >= 0)
		r = signer_load(config->signing_key, &signer, &error);
	if (r < 0)
		return fail(r, "not reloaded", error);
	r = server_reload_tls(server, config);
	if (r < 0)
		return r;
	jit_set_signer(server->jit, TAKE_PTR(signer));
	renewal_begin(server->jit);
	tell_what_waits(server->config, config);
	server_config_take(server->config, config);
	server_configure(server);
	log_line(LOG_INFO, "reloaded (issuers: %zu, assignments: %zu)", server->config->n_issuers,
		server->config->n_assignments);
	return 0;
}
