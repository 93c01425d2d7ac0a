/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * jitgate-poll between a feed and an agent, neither of which keeps to anything. A line each:
 *
 *   f STATUS BODY   the feed's answer to a question for documents
 *   e STATUS BODY   and to events that were sent
 *   a JSON          the agent's reply; without JSON it hangs up
 *   r TYPE          the agent tells that it has recorded something
 *   u               the agent is there anew
 *
 * Nobody waits: what is to be done later is done at once. One question is under way at a time, and
 * how far it has come can be read again.
 */

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>

#include "agent/common/strictjson.h"
#include "agent/poll/agent_link.h"
#include "agent/poll/cursor.h"
#include "agent/poll/poll.h"
#include "agent/poll/transport.h"
#include "tests/fuzz/fuzz.h"

#define CALLS_MAX 64
#define REQUESTS_MAX 2 /* for documents, and with events */
#define TURNS_MAX 4096

/* The feed. */
struct request {
	void (*on_response)(const struct response *response, void *userdata);
	void *userdata;
	bool is_under_way;
};

static struct request *requests[REQUESTS_MAX];
static size_t n_requests;

int transport_new(sd_event *event, const struct config_feed *feed, struct transport **ret)
{
	(void)event, (void)feed;
	*ret = NULL;
	return 0;
}

struct transport *transport_free(struct transport *transport)
{
	return transport;
}

int request_new(struct transport *transport, size_t n_bytes_max,
	void (*on_response)(const struct response *response, void *userdata), void *userdata,
	struct request **ret)
{
	(void)transport, (void)n_bytes_max;
	*ret = calloc(1, sizeof(**ret));
	CHECK(*ret && n_requests < REQUESTS_MAX);
	**ret = (struct request){ on_response, userdata, false };
	requests[n_requests++] = *ret;
	return 0;
}

struct request *request_free(struct request *request)
{
	free(request);
	return NULL;
}

int request_get(struct request *request, const char *url, const char *etag, uint64_t timeout_ms,
	char error[static TRANSPORT_ERROR_MAX])
{
	(void)etag, (void)error;
	check_message(url);
	CHECK(timeout_ms > 0 && !request->is_under_way);
	request->is_under_way = true;
	return 0;
}

int request_post(struct request *request, const char *url, char *body, uint64_t timeout_ms,
	char error[static TRANSPORT_ERROR_MAX])
{
	free(body);
	return request_get(request, url, NULL, timeout_ms, error);
}

void request_cancel(struct request *request)
{
	request->is_under_way = false;
}

/* "STATUS BODY" */
static void answer_request(struct request *request, const char *text, size_t n_bytes)
{
	_cleanup_(freep) char *line = take_text((const uint8_t *)text, n_bytes), *body = NULL;
	struct response response = {
		.status = strtol(line, &body, 10) % 1000,
		.content_type = "application/json",
		.etag = "\"e\"",
	};
	/* In memory of its own, so that reading past its end shows. */
	_cleanup_(freep) char *copy = strdup(*body == ' ' ? body + 1 : body);

	body = NULL;
	if (!request->is_under_way)
		return;
	request->is_under_way = false;
	if (response.status <= 0) {
		response.status = 0;
		response.error = "nobody answers";
	} else {
		response.body = copy;
		response.n_bytes = strlen(copy);
		response.retry_after = response.status == 429 ? copy : NULL;
		response.location = response.status == 302 ? copy : NULL;
	}
	request->on_response(&response, request->userdata);
}

/* The agent. */
struct agent_link {
	struct link_listener listener;
	struct {
		link_answer_t on_answer;
		void *userdata;
	} calls[CALLS_MAX];
	size_t n_calls;
};

static struct agent_link *agent;

int agent_link_new(sd_event *event, const char *path, const struct link_listener *listener,
	struct agent_link **ret)
{
	(void)event, (void)path;
	*ret = agent = calloc(1, sizeof(**ret));
	CHECK(agent);
	agent->listener = *listener;
	return 0;
}

struct agent_link *agent_link_free(struct agent_link *link)
{
	free(link);
	return agent = NULL;
}

int agent_link_call(struct agent_link *link, const char *method, json_t *parameters,
	link_answer_t on_answer, void *userdata)
{
	CHECK(*method && json_is_object(parameters) && link->n_calls < CALLS_MAX);
	json_decref(parameters);
	link->calls[link->n_calls].on_answer = on_answer;
	link->calls[link->n_calls++].userdata = userdata;
	return 0;
}

static void answer_call(const char *text, size_t n_bytes)
{
	json_auto_t *reply = NULL;
	link_answer_t on_answer;
	const json_t *parameters;
	const char *error;
	char reason[128];
	void *userdata;

	if (agent->n_calls == 0)
		return;
	on_answer = agent->calls[0].on_answer;
	userdata = agent->calls[0].userdata;
	memmove(agent->calls, agent->calls + 1, --agent->n_calls * sizeof(agent->calls[0]));
	if (json_parse_object(text, n_bytes, &reply, reason, sizeof(reason)) < 0) {
		on_answer(-ECONNRESET, NULL, NULL, userdata);
		return;
	}
	error = json_string_value(json_object_get(reply, "error"));
	parameters = json_object_get(reply, "parameters");
	on_answer(error ? LINK_ERROR : 0, error, parameters, userdata);
}

/* Time passes at once. */
int sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec)
{
	int (*real)(sd_event_source * source, uint64_t usec) =
		dlsym(RTLD_NEXT, "sd_event_source_set_time_relative");

	(void)usec;
	return real(source, 0);
}

CURLcode curl_global_init(long flags)
{
	(void)flags;
	return CURLE_OK;
}

void curl_global_cleanup(void)
{
}

static void run_loop(sd_event *event)
{
	int n = 0;

	while (sd_event_run(event, 0) > 0)
		CHECK(++n < TURNS_MAX);
}

static void do_line(const char *line, size_t n_bytes)
{
	const size_t n_head = n_bytes > 1 ? 2 : n_bytes;
	const char *rest = line + n_head;
	_cleanup_(freep) char *type = NULL;

	n_bytes -= n_head;
	switch (n_head > 0 ? *line : '\0') {
	case 'f':
		answer_request(requests[0], rest, n_bytes);
		break;
	case 'e':
		answer_request(requests[1], rest, n_bytes);
		break;
	case 'a':
		answer_call(rest, n_bytes);
		break;
	case 'r':
		type = take_text((const uint8_t *)rest, n_bytes);
		agent->listener.on_event(type, agent->listener.userdata);
		break;
	case 'u':
		/* What was under way is gone. */
		while (agent->n_calls > 0)
			answer_call("", 0);
		agent->listener.on_up(agent->listener.userdata);
	}
}

static struct config *load_config(void)
{
	static char *path;
	struct config *config;
	char *error;

	if (!path) {
		_cleanup_(freep) char *text = NULL;

		CHECK(asprintf(&text,
			      "[agent]\nvm_id = vm\n[feed]\nurl = https://feed\n"
			      "state_directory = %s\n",
			      scratch_directory()) >= 0);
		path = scratch_file("agent.conf", text, strlen(text));
	}
	CHECK(config_load(path, &config, &error) == 0);
	return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = take_text(data, size), *kept = NULL;
	struct poll *poll;
	struct cursor cursor;
	sd_event *event;
	int r;

	n_requests = 0;
	CHECK(sd_event_new(&event) >= 0);
	CHECK(poll_new(event, load_config(), &poll) == 0);
	CHECK(n_requests == REQUESTS_MAX);
	run_loop(event);
	for (const char *line = text; *line;) {
		size_t n = strcspn(line, "\n");

		do_line(line, n);
		run_loop(event);
		line += n + (line[n] == '\n');
	}
	poll_free(poll);
	sd_event_unref(event);
	r = cursor_load(scratch_directory(), "https://feed", "vm", &cursor);
	CHECK(r >= 0);
	CHECK(asprintf(&kept, "%s/cursor.json", scratch_directory()) >= 0);
	(void)unlink(kept);
	return 0;
}
