/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/probes.h"

#define STORE_PATIENCE_USEC (2 * USEC_PER_SEC)

/* The store's answer may come when nobody waits for it any more. */
struct probe {
	struct http_request *request; /* NULL: answered */
	bool is_asked;
};

static void probe_answer(struct probe *probe, bool healthy)
{
	struct http_request *request = TAKE_PTR(probe->request);

	if (request && healthy)
		http_respond_text(request, 200, "text/plain", "ok\n");
	else if (request)
		http_respond_error(request, 503, "ServiceUnavailable", "the store does not answer");
}

/* The request is gone. */
static void probe_done(void *data)
{
	struct probe *probe = data;

	probe->request = NULL;
	if (!probe->is_asked)
		free(probe);
}

static void probe_on_range(int error, const struct store_range_result *result, void *userdata)
{
	struct probe *probe = userdata;

	(void)result;
	probe->is_asked = false;
	if (probe->request)
		probe_answer(probe, error == 0);
	else
		free(probe);
}

static void probe_on_timeout(struct http_request *request, void *userdata)
{
	(void)request;
	probe_answer(userdata, false);
}

static void handle_health(struct http_request *request, void *userdata)
{
	const struct store_range range = { .from = "healthz", .limit = 1 };
	struct server *server = userdata;
	struct probe *probe = calloc(1, sizeof(*probe));
	int r;

	if (!probe) {
		http_respond_error(request, 503, "ServiceUnavailable", "out of memory");
		return;
	}
	probe->request = request;
	http_request_set_data(request, probe, probe_done);
	r = http_request_set_timeout(request, STORE_PATIENCE_USEC, probe_on_timeout, probe);
	if (r >= 0)
		r = store_range(server->store, &range, probe_on_range, probe);
	if (r < 0)
		probe_answer(probe, false);
	else
		probe->is_asked = true;
}

static void handle_metrics(struct http_request *request, void *userdata)
{
	struct server *server = userdata;
	_cleanup_(freep) char *text = metrics_format(&server->metrics);

	if (text)
		http_respond_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", text);
	else
		http_respond_error(request, 500, "InternalError", "out of memory");
}

static const char *class_name(unsigned status)
{
	static const char *const names[] = { "1xx", "2xx", "3xx", "4xx", "5xx" };

	return names[status / 100 - 1];
}

static void write_answers(
	const char *route, unsigned status, uint64_t n, double seconds, void *userdata)
{
	struct metrics_page *page = userdata;

	metrics_sample_suffix(
		page, "_count", (double)n, "route", route, "status", class_name(status), NULL);
	metrics_sample_suffix(
		page, "_sum", seconds, "route", route, "status", class_name(status), NULL);
}

static void write_metrics(struct metrics_page *page, void *userdata)
{
	struct server *server = userdata;
	struct http_counts counts;

	http_server_count(server->http, &counts);
	metrics_begin(page, "jitgate_server_build_info", "gauge", "What runs");
	metrics_sample(page, 1, "version", JITGATE_VERSION, NULL);
	metrics_begin(page, "jitgate_server_connections", "gauge", "Connections that are open");
	metrics_sample(page, (double)counts.n_connections, NULL);
	metrics_begin(
		page, "jitgate_server_held_requests", "gauge", "Requests without an answer yet");
	metrics_sample(page, (double)counts.n_held, NULL);
	metrics_begin(page, "jitgate_server_tokens", "gauge", "Tokens that are good");
	metrics_sample(page, (double)identity_count_tokens(server->identity), NULL);
	metrics_begin(page, "jitgate_server_store_revision", "counter", "The store's revision");
	metrics_sample(page, (double)store_revision(server->store), NULL);
	metrics_begin(page, "jitgate_server_answer_seconds", "summary",
		"From a request's arrival to its answer, held time included");
	http_server_foreach_answer(server->http, write_answers, page);
}

int probes_add_metrics(struct server *server)
{
	return metrics_add(&server->metrics, write_metrics, server);
}

const struct http_route probes_routes[] = {
	{ "GET", "/healthz", "healthz", 0, handle_health, NEEDS_NOTHING },
	{ "GET", "/metrics", "metrics", 0, handle_metrics, NEEDS_NOTHING },
	{},
};
