/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Access to a machine, asked for and waited for: request. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "agent/cli/output.h"
#include "agent/cli/request_state.h"
#include "agent/cli/server.h"
#include "agent/common/prefix.h"
#include "agent/common/document.h"
#include "agent/common/text.h"
#include "agent/common/times.h"
#include "agent/common/url.h"

#define TIMEOUT_SECONDS_DEFAULT 120
#define HOLD_SECONDS_MAX 30 /* of one call; the server's bound is 60 */
#define PAUSE_SECONDS 1
#define COLUMNS_DEFAULT 80

struct waiting {
	const struct cli *cli;
	struct http *http;
	char *path;
	json_t *request; /* as the server last told it */
	uint64_t deadline_usec;
	bool quiet;
	bool on_terminal; /* one text that is written again and again */
	char shown[512];
};

/* What to say when Ctrl-C ends the wait: a signal's handler can make no text. */
static char interrupted[512];

static void on_interrupt(int signal_number)
{
	ssize_t ignored = write(STDERR_FILENO, interrupted, strlen(interrupted));

	(void)ignored;
	/* SA_RESETHAND: the shell sees what ended us. */
	raise(signal_number);
}

static void catch_interrupt(const struct waiting *waiting)
{
	struct sigaction action = { .sa_handler = on_interrupt, .sa_flags = SA_RESETHAND };

	snprintf(interrupted, sizeof(interrupted),
		"%sjitgate: the request stands. To take it back: jitgate requests revoke %.128s\n",
		waiting->on_terminal ? "\n" : "", member_text(waiting->request, "id", "?"));
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

/* Goes back over what is shown, which may take several rows. */
static void progress_erase(const struct waiting *waiting)
{
	size_t n = text_width(waiting->shown);
	unsigned n_rows = 0;

	if (n > 0)
		n_rows = (n - 1) / terminal_columns(STDERR_FILENO, COLUMNS_DEFAULT);
	if (n_rows > 0)
		fprintf(stderr, "\x1b[%uA", n_rows);
	fprintf(stderr, n_rows > 0 ? "\r\x1b[J" : "\r\x1b[K");
}

static void progress_end(struct waiting *waiting)
{
	if (waiting->on_terminal && waiting->shown[0])
		progress_erase(waiting);
	waiting->shown[0] = '\0';
}

static void progress_show(struct waiting *waiting, const char *text)
{
	char printable[sizeof(waiting->shown)];

	/* Machines' names and agents' reasons are what others say. */
	snprintf(printable, sizeof(printable), "%s", text);
	text_make_printable(printable);
	if (waiting->quiet || strcmp(waiting->shown, printable) == 0)
		return;
	if (waiting->on_terminal)
		progress_erase(waiting);
	fprintf(stderr, waiting->on_terminal ? "%s" : "%s\n", printable);
	memcpy(waiting->shown, printable, sizeof(printable));
}

static const char *first_vm(const json_t *request)
{
	return member_text(
		json_array_get(json_object_get(request, "virtualMachines"), 0), "id", "?");
}

static void progress_tell(struct waiting *waiting)
{
	const char *id = member_text(waiting->request, "id", "?");
	const char *vm = vm_name(first_vm(waiting->request));
	const char *obstacle = request_obstacle(waiting->request);
	char text[512] = "";

	switch (request_stage(waiting->request)) {
	case REQUEST_PENDING:
		snprintf(text, sizeof(text),
			"%.128s: waiting for an approver of %.128s (jitgate approve %.128s)", id,
			vm, id);
		break;
	case REQUEST_GRANTED:
		snprintf(text, sizeof(text), "%.128s: granted, waiting for %.128s to fetch it", id,
			vm);
		break;
	case REQUEST_DELIVERED:
		snprintf(text, sizeof(text), "%.128s: delivered, %.128s %s%.160s", id, vm,
			obstacle ? "can't open the port yet: " : "opens the port",
			obstacle ? obstacle : "");
		break;
	case REQUEST_OPEN:
	case REQUEST_ENDED:
		return;
	}
	progress_show(waiting, text);
}

static uint64_t seconds_left(const struct waiting *waiting)
{
	uint64_t now = clock_monotonic_usec();

	return now < waiting->deadline_usec ? (waiting->deadline_usec - now) / USEC_PER_SEC : 0;
}

static void pause_for(long seconds)
{
	nanosleep(&(struct timespec){ .tv_sec = seconds }, NULL);
}

/* A server that restarts, or is busy, is asked again: the request stands. */
static bool is_passing(int r, const struct http_answer *answer)
{
	if (r != 0)
		return r == HTTP_UNREACHABLE || r == HTTP_BROKEN;
	return answer->status == 429 || (answer->status >= 502 && answer->status <= 504);
}

static int poll_once(struct waiting *waiting)
{
	_cleanup_(http_answer_done) struct http_answer answer;
	json_int_t revision = member_integer(waiting->request, "revision");
	uint64_t begun = clock_monotonic_usec(), hold = seconds_left(waiting);
	_cleanup_(freep) char *path = NULL;
	int r;

	hold = hold < HOLD_SECONDS_MAX ? hold : HOLD_SECONDS_MAX;
	if (asprintf(&path, "%s?after=%" JSON_INTEGER_FORMAT "&wait=%u", waiting->path, revision,
		    (unsigned)hold) < 0) {
		path = NULL;
		return output_failure(-ENOMEM);
	}
	r = http_call(waiting->http, "GET", path, NULL, (long)hold + SERVER_SECONDS, &answer);
	if (r != 0 || answer.status >= 300) {
		if (!is_passing(r, &answer) || seconds_left(waiting) == 0) {
			progress_end(waiting);
			return server_explain(waiting->cli, r, &answer);
		}
		progress_show(waiting, "the control plane does not answer; asking again");
		pause_for(answer.retry_after > 0 &&
					(uint64_t)answer.retry_after <= seconds_left(waiting)
				? answer.retry_after
				: PAUSE_SECONDS);
		return EXIT_DONE;
	}
	if (answer.body && json_object_get(answer.body, "virtualMachines")) {
		json_decref(waiting->request);
		waiting->request = json_incref(answer.body);
	}
	/* Where it does not hold calls, it is not asked in a circle. */
	if (member_integer(waiting->request, "revision") <= revision &&
		clock_monotonic_usec() - begun < PAUSE_SECONDS * USEC_PER_SEC)
		pause_for(PAUSE_SECONDS);
	return EXIT_DONE;
}

static int tell_open(const struct waiting *waiting)
{
	const struct cli *cli = waiting->cli;
	const char *vm = vm_name(first_vm(waiting->request));
	char until[2 * TIME_STRING_MAX];
	json_t *machine, *port;
	size_t i, j;

	if (cli->json)
		return output_json(waiting->request);
	json_array_foreach (json_object_get(waiting->request, "virtualMachines"), i, machine) {
		json_array_foreach (json_object_get(machine, "ports"), j, port) {
			_cleanup_(freep) char *sources = port_sources(port);

			moment_describe_utc(
				member_text(port, "endTimeUtc", "?"), time(NULL), until);
			output_line(cli, STYLE_GOOD,
				"%s %" JSON_INTEGER_FORMAT "/%s is open to %s until %s", vm,
				member_integer(port, "number"),
				member_text(port, "protocol", "TCP"), sources ? sources : "?",
				until);
			if (member_integer(port, "number") == 22)
				output_line(cli, STYLE_PLAIN, "  ssh %s", vm);
		}
	}
	return EXIT_DONE;
}

static int tell_end(const struct waiting *waiting)
{
	const json_t *port = request_decisive_port(waiting->request);
	char text[1024];

	return server_refuse(waiting->cli, request_end_code(port),
		request_end_describe(waiting->request, port, text, sizeof(text)));
}

static int tell_standing(const struct waiting *waiting)
{
	const char *id = member_text(waiting->request, "id", "?");
	bool pending = request_stage(waiting->request) == REQUEST_PENDING;

	if (waiting->cli->json)
		return output_json(waiting->request);
	output_line(waiting->cli, pending ? STYLE_WARNING : STYLE_GOOD, "%s %s: jitgate requests",
		id, pending ? "waits for approval" : "is granted");
	return EXIT_DONE;
}

static int tell_timeout(const struct waiting *waiting)
{
	const char *id = member_text(waiting->request, "id", "?");
	const char *obstacle = request_obstacle(waiting->request);

	if (waiting->cli->json)
		(void)output_json(waiting->request);
	if (request_stage(waiting->request) == REQUEST_PENDING)
		output_error("nobody has approved %s yet. The request stands: jitgate requests "
			     "shows it, jitgate requests revoke %s takes it back",
			id, id);
	else if (obstacle)
		output_error("%s is granted, but the machine can't open the port yet: %s. It tries "
			     "again until it can (jitgate requests; jitgate requests revoke %s)",
			id, obstacle, id);
	else
		output_error("%s is granted, but the machine does not say that the port is open: "
			     "does its jitgate-poll run? The request stands (jitgate requests; "
			     "jitgate requests revoke %s)",
			id, id);
	return EXIT_REFUSED;
}

static int wait_for_it(struct waiting *waiting)
{
	int r;

	for (;;) {
		enum request_stage stage = request_stage(waiting->request);

		if (stage == REQUEST_OPEN || stage == REQUEST_ENDED) {
			progress_end(waiting);
			return stage == REQUEST_OPEN ? tell_open(waiting) : tell_end(waiting);
		}
		progress_tell(waiting);
		if (clock_monotonic_usec() >= waiting->deadline_usec) {
			progress_end(waiting);
			return tell_timeout(waiting);
		}
		r = poll_once(waiting);
		if (r != EXIT_DONE)
			return r;
	}
}

static int follow(const struct cli *cli, const struct arguments *arguments, struct http *http,
	json_t *request, int64_t timeout)
{
	_cleanup_(freep) char *segment = url_encode(member_text(request, "id", ""));
	_cleanup_(freep) char *path = NULL;
	struct waiting waiting = {
		.cli = cli,
		.http = http,
		.request = json_incref(request),
		.deadline_usec = clock_monotonic_usec() + timeout * USEC_PER_SEC,
		.quiet = cli->json,
		.on_terminal = !cli->json && terminal_obeys(STDERR_FILENO),
	};
	bool ended = request_stage(request) == REQUEST_ENDED;
	int r;

	if (!segment || asprintf(&path, "/v1/requests/%s", segment) < 0) {
		path = NULL;
		r = output_failure(-ENOMEM);
	} else if (arguments_have(arguments, "no-wait") && !ended)
		r = tell_standing(&waiting);
	else {
		waiting.path = path;
		catch_interrupt(&waiting);
		r = wait_for_it(&waiting);
	}
	json_decref(waiting.request);
	return r;
}

/* A prefix as the server will show it; "me" is whoever calls, which is what leaving it out says. */
static int read_source(const struct cli *cli, const struct arguments *arguments,
	char normal[static PREFIX_STRING_MAX], const char **ret)
{
	const char *text = arguments_get(arguments, "source");
	struct prefix prefix;
	const char *reason;

	*ret = NULL;
	if (!text || strcmp(text, "me") == 0)
		return EXIT_DONE;
	reason = prefix_parse_reason(text, &prefix);
	if (reason)
		return output_usage(cli, "--source %s %s", text, reason);
	*ret = prefix_format(&prefix, normal);
	return EXIT_DONE;
}

static int read_ports(const struct cli *cli, const struct arguments *arguments, json_t **ret)
{
	json_auto_t *ports = json_array();
	char normal[PREFIX_STRING_MAX];
	const char *text, *source;
	size_t index = 0;
	int r;

	r = read_source(cli, arguments, normal, &source);
	if (r != EXIT_DONE)
		return r;
	while ((text = arguments_next(arguments, "port", &index))) {
		unsigned protocols;
		uint16_t number;

		if (port_protocol_parse(text, &number, &protocols) < 0)
			return output_usage(cli, "--port %s is not a port like 22 or 53/udp", text);
		/* A bare number leaves the protocol to the policy. */
		if (json_array_append_new(ports,
			    json_pack("{s:i, s:s*, s:s*}", "number", number, "protocol",
				    strchr(text, '/') ? protocol_format(protocols) : NULL, "source",
				    source)) < 0)
			return output_failure(-ENOMEM);
	}
	*ret = TAKE_PTR(ports);
	return EXIT_DONE;
}

static int read_request(const struct cli *cli, const struct arguments *arguments, json_t **ret)
{
	const char *text = arguments_get(arguments, "for");
	char duration[TIME_STRING_MAX];
	json_t *ports = NULL;
	int64_t seconds = 0;
	int r;

	if (text && duration_parse(text, &seconds) < 0)
		return output_usage(
			cli, "--for %s is not a duration like PT10M or PT3H, up to P366D", text);
	if (strspn(arguments_get(arguments, "reason"), " \t") ==
		strlen(arguments_get(arguments, "reason")))
		return output_usage(cli, "--reason is empty");
	r = read_ports(cli, arguments, &ports);
	if (r != EXIT_DONE)
		return r;
	*ret = json_pack("{s:s, s:o, s:s*, s:s}", "vm", arguments_operand(arguments, 0), "ports",
		ports, "duration", text ? duration_format(seconds, duration) : NULL,
		"justification", arguments_get(arguments, "reason"));
	return *ret ? EXIT_DONE : output_usage(cli, "an argument is not UTF-8");
}

static int run_request(const struct cli *cli, const struct arguments *arguments)
{
	const char *timeout_text = arguments_get(arguments, "timeout");
	_cleanup_(http_freep) struct http *http = NULL;
	json_auto_t *body = NULL, *request = NULL;
	int64_t timeout = TIMEOUT_SECONDS_DEFAULT;
	int r;

	if (timeout_text && duration_parse(timeout_text, &timeout) < 0)
		return output_usage(cli, "--timeout %s is not a duration like PT2M", timeout_text);
	r = read_request(cli, arguments, &body);
	if (r == EXIT_DONE)
		r = server_open(cli, arguments, &http);
	if (r == EXIT_DONE)
		r = server_call(cli, http, "POST", "/v1/requests", body, &request);
	if (r != EXIT_DONE)
		return r;
	if (!document_id_is_valid(member_text(request, "id", ""))) {
		output_error("%s does not answer as a control plane does: the request has no id",
			http_url(http));
		return EXIT_REFUSED;
	}
	return follow(cli, arguments, http, request, timeout);
}

static const struct option_spec request_options[] = {
	{ "port", "PORT[/PROTO]", "22, 443/tcp, 53/udp", true, true },
	{ "source", "PREFIX|me", "who may come: an address, a prefix, or where you call from (me)",
		false, false },
	{ "for", "DURATION", "ISO 8601: PT30M (PT1H, or what the policy allows)", false, false },
	{ "reason", "TEXT", "why: approvers and the activity log see it", true, false },
	{ "no-wait", NULL, "return when the server has taken it", false, false },
	{ "timeout", "DURATION", "how long to wait for the open port (PT2M)", false, false },
	SERVER_OPTIONS,
	{ 0 },
};

const struct command command_request = {
	.name = "request",
	.operands = "VM",
	.n_operands_min = 1,
	.n_operands_max = 1,
	.options = request_options,
	.summary = "ask for access to a machine, and wait until it is open",
	.text = "Asks the control plane for access to ports of a machine, by its name or its id, "
		"and "
		"waits until the machine says that they are open. Ctrl-C ends the wait, not the "
		"request." SERVER_TEXT,
	.example = "jitgate request web-1 --port 22 --reason \"ticket 4711\" && ssh web-1",
	.run = run_request,
};
