/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A server with a few routes, and raw sockets to it: the test is every client and runs the server's
 * loop itself. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agent/common/prefix.h"
#include "agent/common/times.h"
#include "contrib/control-plane/http/http.h"

#define WAIT_USEC (10 * USEC_PER_SEC)

struct fixture {
	char directory[32];
	char path[64];
	sd_event *event;
	struct http_server *server;
	struct http_request *kept;
	unsigned n_handled, n_done, n_timeouts;
	char answer[256 * 1024];
};

static void handle_echo(struct http_request *request, void *userdata)
{
	struct fixture *fixture = userdata;
	const char *query = http_request_query(request, "$top");
	char source[PREFIX_STRING_MAX] = "none";
	struct address address;
	uint8_t family;

	fixture->n_handled++;
	http_request_source(request, &family, &address);
	if (family != AF_UNSPEC)
		address_format(family, &address, source);
	http_respond_json(request, 200,
		json_pack("{s:s, s:s, s:s, s:s*, s:s*, s:s}", "path", http_request_path(request),
			"vm", http_request_parameter(request, "vm"), "method",
			http_request_method(request), "top", query, "bearer",
			http_request_bearer(request), "source", source));
}

static void handle_body(struct http_request *request, void *userdata)
{
	struct fixture *fixture = userdata;
	json_t *body = http_request_json(request);

	fixture->n_handled++;
	if (body)
		http_respond_json(request, 201, json_incref(body));
}

static void on_done(void *data)
{
	struct fixture *fixture = data;

	fixture->n_done++;
}

static void on_timeout(struct http_request *request, void *userdata)
{
	struct fixture *fixture = userdata;

	assert_ptr_equal(request, fixture->kept);
	fixture->n_timeouts++;
	fixture->kept = NULL;
	http_respond_empty(request, 204);
}

static void handle_hold(struct http_request *request, void *userdata)
{
	struct fixture *fixture = userdata;
	const char *wait = http_request_query(request, "wait");

	fixture->n_handled++;
	fixture->kept = request;
	http_request_set_data(request, fixture, on_done);
	if (wait)
		assert_int_equal(http_request_set_timeout(request,
					 (uint64_t)atoi(wait) * USEC_PER_MSEC, on_timeout, fixture),
			0);
}

static bool admit(struct http_request *request, const struct http_route *route, void *userdata)
{
	(void)userdata;
	if (route->access == 0)
		return true;
	(void)http_request_add_header(request, "WWW-Authenticate", "Bearer");
	http_respond_error(request, 401, "AuthenticationFailed", "no");
	return false;
}

static const struct http_route routes[] = {
	{ "GET", "/v1/vms/{vm}/echo", "echo", 0, handle_echo, 0 },
	{ "PUT", "/v1/vms/{vm}/echo", "put", 0, handle_body, 0 },
	{ "POST", "/v1/body", "body", 0, handle_body, 0 },
	{ "GET", "/v1/hold", "hold", 0, handle_hold, 0 },
	{ "GET", "/v1/shut", "shut", 0, handle_hold, 1 },
	{},
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct http_options options = {
		.listen = fixture->path,
		.routes = routes,
		.userdata = fixture,
		.admit = admit,
		.patience_usec = 2 * USEC_PER_SEC,
	};
	char *error = NULL;

	strcpy(fixture->directory, "/tmp/server_http_XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	sprintf(fixture->path, "%s/socket", fixture->directory);
	assert_int_equal(sd_event_new(&fixture->event), 0);
	assert_int_equal(http_server_new(fixture->event, &options, &fixture->server, &error), 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	struct stat status;

	http_server_free(fixture->server);
	assert_int_equal(lstat(fixture->path, &status), -1);
	sd_event_unref(fixture->event);
	assert_int_equal(rmdir(fixture->directory), 0);
	free(fixture);
	return 0;
}

static void run(struct fixture *fixture)
{
	assert_true(sd_event_run(fixture->event, 10 * USEC_PER_MSEC) >= 0);
}

static int dial(const struct fixture *fixture)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, fixture->path);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(struct fixture *fixture, int fd, const char *text)
{
	uint64_t end = clock_monotonic_usec() + WAIT_USEC;

	while (*text) {
		ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);

		if (n < 0 && errno == EPIPE)
			return;
		assert_true(n > 0 || errno == EAGAIN);
		assert_true(clock_monotonic_usec() < end);
		text += n > 0 ? n : 0;
		run(fixture);
	}
}

/* Reads until something is there, or (NULL) the end. */
static const char *hear(struct fixture *fixture, int fd, const char *wanted)
{
	uint64_t end = clock_monotonic_usec() + WAIT_USEC;
	size_t n_bytes = 0;

	fixture->answer[0] = '\0';
	while (clock_monotonic_usec() < end) {
		ssize_t n = recv(
			fd, fixture->answer + n_bytes, sizeof(fixture->answer) - 1 - n_bytes, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			return fixture->answer;
		n_bytes += n > 0 ? (size_t)n : 0;
		fixture->answer[n_bytes] = '\0';
		if (wanted && strstr(fixture->answer, wanted))
			return fixture->answer;
		run(fixture);
	}
	fail_msg("no answer, but: %s", fixture->answer);
	return NULL;
}

static void expect(struct fixture *fixture, const char *request, const char *wanted)
{
	int fd = dial(fixture);

	say(fixture, fd, request);
	if (!strstr(hear(fixture, fd, wanted), wanted))
		fail_msg("%s\nanswered: %s\nwanted: %s", request, fixture->answer, wanted);
	close(fd);
}

#define GET(target) "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"

static void segments_are_decoded_each_by_itself(void **state)
{
	struct fixture *fixture = *state;

	expect(fixture, GET("/v1/vms/web-1/echo?$top=5"), "\"top\":\"5\"");
	expect(fixture, GET("/V1/VMS/web-1/ECHO?%24TOP=a+b%2B"), "\"top\":\"a b+\"");
	expect(fixture, GET("/v1/vms/%2Fsubscriptions%2fS/echo"), "\"vm\":\"/subscriptions/S\"");
	expect(fixture, GET("/v1/vms/%2Fsubscriptions%2fS/echo"),
		"\"path\":\"/v1/vms/%2Fsubscriptions%2fS/echo\"");
	expect(fixture, GET("http://host/v1/vms/x/echo"), "\"path\":\"/v1/vms/x/echo\"");
	assert_int_equal(fixture->n_handled, 5);
	expect(fixture, GET("/v1/vms/%00/echo"), " 400 ");
	expect(fixture, GET("/v1/vms/%0a/echo"), " 400 ");
	expect(fixture, GET("/v1/vms/%zz/echo"), " 400 ");
	expect(fixture, GET("/v1/vms/%4"), " 400 ");
	expect(fixture, GET("/v1/vms/%ff/echo"), " 400 ");
	expect(fixture, GET("/v1/vms/x/echo?a=%00"), " 400 ");
	expect(fixture, GET("/v1/vms/x/echo?a=1&A=2"), " 400 ");
	expect(fixture, GET("v1/vms/x/echo"), " 400 ");
	expect(fixture, GET("/v1/vms//echo"), " 404 ");
	expect(fixture, GET("/v1/vms/x/y/echo"), " 404 ");
	expect(fixture, GET("/v1/vms/x/echo/"), " 404 ");
	expect(fixture, GET("/"), " 404 ");
	assert_int_equal(fixture->n_handled, 5);
}

static void a_method_that_is_not_served_is_told_what_is(void **state)
{
	struct fixture *fixture = *state;

	expect(fixture, "HEAD /v1/vms/x/echo HTTP/1.1\r\nHost: a\r\n\r\n", " 200 ");
	expect(fixture, "DELETE /v1/vms/x/echo HTTP/1.1\r\nHost: a\r\n\r\n",
		"Allow: GET, HEAD, PUT\r\n");
	expect(fixture, "DELETE /v1/vms/x/echo HTTP/1.1\r\nHost: a\r\n\r\n", " 405 ");
	expect(fixture, "BREW /v1/vms/x/echo HTTP/1.1\r\nHost: a\r\n\r\n", " 405 ");
	expect(fixture, GET("/v1/shut"), "WWW-Authenticate: Bearer\r\n");
	expect(fixture, GET("/v1/shut"), "\"code\":\"AuthenticationFailed\"");
}

static void a_proxy_tells_where_a_call_comes_from(void **state)
{
	struct fixture *fixture = *state;

#define FROM(text) \
	"GET /v1/vms/x/echo HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\n" \
	"X-Forwarded-For: " text "\r\n\r\n"
	expect(fixture, GET("/v1/vms/x/echo"), "\"source\":\"none\"");
	expect(fixture, FROM("192.0.2.1, 198.51.100.7"), "\"source\":\"198.51.100.7\"");
	expect(fixture, FROM("2001:db8::1 "), "\"source\":\"2001:db8::1\"");
	expect(fixture, FROM("::ffff:192.0.2.1"), "\"source\":\"192.0.2.1\"");
	expect(fixture, FROM("192.0.2.1, unknown"), "\"source\":\"none\"");
}

#define POST(headers, body) "POST /v1/body HTTP/1.1\r\nHost: a\r\n" headers "\r\n" body
#define JSON_TYPE "Content-Type: application/json\r\n"

static void a_body_is_one_json_object_of_known_length(void **state)
{
	struct fixture *fixture = *state;

	expect(fixture, POST(JSON_TYPE "Content-Length: 8\r\n", "{\"a\":12}"), "{\"a\":12}");
	expect(fixture,
		POST("Content-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n",
			"{}"),
		" 201 ");
	expect(fixture,
		POST(JSON_TYPE "Transfer-Encoding: chunked\r\n",
			"4\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\n\r\n"),
		"{\"a\":1}");
	expect(fixture, POST("Content-Length: 0\r\n", ""), " 201 ");
	assert_int_equal(fixture->n_handled, 4);
	expect(fixture, POST("", ""), " 411 ");
	expect(fixture, POST("Content-Length: 2\r\n", "{}"), " 415 ");
	expect(fixture, POST("Content-Type: application/jsonx\r\nContent-Length: 2\r\n", "{}"),
		" 415 ");
	expect(fixture, POST(JSON_TYPE "Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
		" 400 ");
	expect(fixture,
		POST(JSON_TYPE "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
		" 400 ");
	expect(fixture, POST(JSON_TYPE "Transfer-Encoding: gzip\r\n", ""), " 400 ");
	expect(fixture, POST(JSON_TYPE "Content-Length: -1\r\n", ""), " 400 ");
	expect(fixture, POST(JSON_TYPE "Content-Length: 65537\r\n", ""), " 413 ");
	assert_int_equal(fixture->n_handled, 4);
	expect(fixture, POST(JSON_TYPE "Content-Length: 13\r\n", "{\"a\":1,\"a\":2}"),
		"InvalidRequestContent");
	expect(fixture, POST(JSON_TYPE "Content-Length: 2\r\n", "[]"), " 400 ");
	expect(fixture, POST(JSON_TYPE "Content-Length: 3\r\n", "{}x"), " 400 ");
	expect(fixture, "PUT /v1/vms/x/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		" 400 ");
}

static void chunks_without_end_are_cut(void **state)
{
	struct fixture *fixture = *state;
	static char chunk[16 * 1024 + 16];
	int fd = dial(fixture);

	sprintf(chunk, "4000\r\n%*s\r\n", 16 * 1024, "");
	say(fixture, fd, POST(JSON_TYPE "Transfer-Encoding: chunked\r\n", ""));
	for (size_t i = 0; i < 5; i++)
		say(fixture, fd, chunk);
	say(fixture, fd, "0\r\n\r\n");
	assert_non_null(strstr(hear(fixture, fd, " 413 "), " 413 "));
	close(fd);

	fd = dial(fixture);
	say(fixture, fd, POST(JSON_TYPE "Transfer-Encoding: chunked\r\n", ""));
	for (size_t i = 0; i < 64; i++)
		say(fixture, fd, chunk);
	hear(fixture, fd, NULL);
	assert_int_equal(fixture->n_handled, 0);
	close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	struct fixture *fixture = *state;
	const char *first;
	int fd = dial(fixture);

	say(fixture, fd, GET("/v1/vms/a/echo") GET("/v1/nothing") GET("/v1/vms/c/echo"));
	first = strstr(hear(fixture, fd, "\"vm\":\"c\""), "\"vm\":\"a\"");
	assert_non_null(first);
	assert_non_null(strstr(first, " 404 "));
	close(fd);
}

static void a_held_request_waits_as_long_as_it_must(void **state)
{
	struct fixture *fixture = *state;
	struct http_counts counts;
	int fd = dial(fixture);

	say(fixture, fd, GET("/v1/hold"));
	while (!fixture->kept)
		run(fixture);
	/* Longer than anything that is waited for. */
	for (uint64_t end = clock_monotonic_usec() + 4 * USEC_PER_SEC;
		clock_monotonic_usec() < end;)
		run(fixture);
	http_server_count(fixture->server, &counts);
	assert_int_equal(counts.n_held, 1);
	assert_int_equal(counts.n_connections, 1);
	assert_int_equal(fixture->n_done, 0);
	http_respond_text(fixture->kept, 200, "text/plain", "at last");
	assert_int_equal(fixture->n_done, 1);
	hear(fixture, fd, "at last");
	say(fixture, fd, GET("/v1/hold?wait=100"));
	hear(fixture, fd, " 204 ");
	assert_int_equal(fixture->n_timeouts, 1);
	assert_int_equal(fixture->n_done, 2);
	close(fd);
}

static void a_client_that_leaves_frees_what_it_held(void **state)
{
	struct fixture *fixture = *state;
	uint64_t end = clock_monotonic_usec() + WAIT_USEC;
	struct http_counts counts;
	int fd = dial(fixture);

	say(fixture, fd, GET("/v1/hold?wait=60000"));
	while (!fixture->kept)
		run(fixture);
	close(fd);
	while (fixture->n_timeouts == 0) {
		assert_true(clock_monotonic_usec() < end);
		run(fixture);
	}
	do {
		assert_true(clock_monotonic_usec() < end);
		run(fixture);
		http_server_count(fixture->server, &counts);
	} while (counts.n_connections > 0);

	/* Without a timeout it stays until it is answered. */
	fd = dial(fixture);
	say(fixture, fd, GET("/v1/hold"));
	while (!fixture->kept)
		run(fixture);
	close(fd);
	for (int i = 0; i < 10; i++)
		run(fixture);
	http_respond_empty(fixture->kept, 204);
	assert_int_equal(fixture->n_done, 2);
}

static void what_is_held_is_answered_when_the_server_stops(void **state)
{
	struct fixture *fixture = *state;
	int fd = dial(fixture);

	say(fixture, fd, GET("/v1/hold"));
	while (!fixture->kept)
		run(fixture);
	fixture->server = http_server_free(fixture->server);
	assert_int_equal(fixture->n_done, 1);
	assert_non_null(strstr(hear(fixture, fd, NULL), " 503 "));
	close(fd);
}

static void a_slow_client_does_not_stay(void **state)
{
	static const char request[] =
		"GET /v1/vms/x/echo HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	struct fixture *fixture = *state;
	uint64_t begin = clock_monotonic_usec();
	size_t i = 0;
	int fd = dial(fixture);

	/* A byte now and then does not buy time. */
	while (send(fd, &request[i++ % strlen(request)], 1, MSG_NOSIGNAL) == 1) {
		assert_true(clock_monotonic_usec() < begin + WAIT_USEC);
		for (uint64_t end = clock_monotonic_usec() + 100 * USEC_PER_MSEC;
			clock_monotonic_usec() < end;)
			run(fixture);
	}
	assert_true(clock_monotonic_usec() > begin + USEC_PER_SEC);
	close(fd);
	/* Nor does a body. */
	fd = dial(fixture);
	say(fixture, fd, POST(JSON_TYPE "Content-Length: 100\r\n", "{"));
	hear(fixture, fd, NULL);
	close(fd);
	assert_int_equal(fixture->n_handled, 0);
}

static void headers_and_paths_are_bounded(void **state)
{
	struct fixture *fixture = *state;
	static char text[64 * 1024];
	int n;

	n = sprintf(text, "GET /v1/vms/x/echo HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ");
	memset(text + n, 'x', 8 * 1024);
	strcpy(text + n + 8 * 1024, "\r\n\r\n");
	expect(fixture, text, " 200 ");
	memset(text + n, 'x', 32 * 1024);
	strcpy(text + n + 32 * 1024, "\r\n\r\n");
	expect(fixture, text, " 431 ");
	n = sprintf(text, "GET /v1/vms/");
	memset(text + n, 'x', HTTP_PATH_BYTES_MAX);
	strcpy(text + n + HTTP_PATH_BYTES_MAX, "/echo HTTP/1.1\r\nHost: a\r\n\r\n");
	expect(fixture, text, " 414 ");
	memset(text + n, 'x', 32 * 1024);
	strcpy(text + n + 32 * 1024, "/echo HTTP/1.1\r\nHost: a\r\n\r\n");
	expect(fixture, text, " 414 ");
}

static void count_answers(
	const char *route, unsigned status, uint64_t n, double seconds, void *userdata)
{
	uint64_t *counts = userdata;

	assert_true(seconds < 5);
	if (strcmp(route, "echo") == 0 && status == 200)
		counts[0] += n;
	else if (strcmp(route, "none") == 0 && status == 400)
		counts[1] += n;
	else
		fail_msg("%s %u", route, status);
}

static void answers_are_counted_by_route(void **state)
{
	struct fixture *fixture = *state;
	uint64_t counts[2] = { 0 };

	expect(fixture, GET("/v1/vms/x/echo"), " 200 ");
	expect(fixture, GET("/v1/vms/y/echo"), " 200 ");
	expect(fixture, GET("/v1/vms"), " 404 ");
	http_server_foreach_answer(fixture->server, count_answers, counts);
	assert_int_equal(counts[0], 2);
	assert_int_equal(counts[1], 1);
}

static void a_stale_socket_is_replaced_and_a_live_one_is_not(void **state)
{
	struct fixture *fixture = *state;
	struct http_options options = { .listen = fixture->path };
	struct http_server *server = NULL;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat status;
	char *error = NULL;
	int fd;

	assert_int_equal(stat(fixture->path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0660);
	assert_int_equal(http_server_new(fixture->event, &options, &server, &error), -EADDRINUSE);
	assert_non_null(strstr(error, "another server"));
	free(error);
	http_server_free(fixture->server);
	/* As a killed server leaves it. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, fixture->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(http_server_new(fixture->event, &options, &fixture->server, &error), 0);
	options.listen = "0.0.0.0:18443";
	assert_int_equal(http_server_new(fixture->event, &options, &server, &error), -EINVAL);
	assert_non_null(strstr(error, "without TLS"));
	free(error);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(segments_are_decoded_each_by_itself),
		TEST(a_method_that_is_not_served_is_told_what_is),
		TEST(a_proxy_tells_where_a_call_comes_from),
		TEST(a_body_is_one_json_object_of_known_length),
		TEST(chunks_without_end_are_cut),
		TEST(pipelined_requests_are_answered_in_order),
		TEST(a_held_request_waits_as_long_as_it_must),
		TEST(a_client_that_leaves_frees_what_it_held),
		TEST(what_is_held_is_answered_when_the_server_stops),
		TEST(a_slow_client_does_not_stay),
		TEST(headers_and_paths_are_bounded),
		TEST(answers_are_counted_by_route),
		TEST(a_stale_socket_is_replaced_and_a_live_one_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
