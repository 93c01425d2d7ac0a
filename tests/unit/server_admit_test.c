/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Who may call: a server with a real store, and routes that need something. */

#include "tests/unit/server_store.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "contrib/control-plane/admit.h"
#include "contrib/control-plane/identity/credential.h"
#include "contrib/control-plane/identity/tokens.h"

struct called {
	struct fixture *fixture;
	struct server server;
	char path[128];
	char token[CREDENTIAL_STRING_MAX];
	unsigned n_handled;
};

static void handle(struct http_request *request, void *userdata)
{
	struct called *called = userdata;

	called->n_handled++;
	http_respond_empty(request, 204);
}

static void handle_principal(struct http_request *request, void *userdata)
{
	const struct principal *principal = http_request_data(request);
	struct called *called = userdata;

	called->n_handled++;
	http_respond_text(request, 200, "text/plain", principal->name);
}

static void handle_agent(struct http_request *request, void *userdata)
{
	struct called *called = userdata;

	server_refuse_credential(&called->server, request, "no such agent");
}

static const struct http_route routes[] = {
	{ "GET", "/person", "person", 0, handle_principal, NEEDS_PRINCIPAL },
	{ "GET", "/default", "default", .handle = handle_principal },
	{ "GET", "/agent", "agent", 0, handle_agent, NEEDS_CREDENTIAL },
	{ "GET", "/open", "open", 0, handle, NEEDS_NOTHING },
	{},
};

static void token_put(struct called *called)
{
	const struct token token = {
		.principal = "alice",
		.assignment = { ROLE_READER, "/" },
		.expires = time(NULL) + 3600,
	};
	_cleanup_(freep) char *value = token_format(&token);
	char hash[CREDENTIAL_HASH_MAX], key[128];

	assert_int_equal(credential_new(CREDENTIAL_TOKEN, called->token), 0);
	assert_int_equal(credential_hash(called->token, hash), 0);
	sprintf(key, TOKENS_PREFIX "%s", hash);
	put(called->fixture, key, value);
}

static int set_up_called(void **state)
{
	struct called *called = calloc(1, sizeof(*called));
	struct http_options options = {
		.listen = called->path,
		.admit = admit_request,
		.userdata = &called->server,
	};
	char *error = NULL;

	set_up((void **)&called->fixture);
	sprintf(called->path, "%s/socket", called->fixture->directory);
	called->server.event = called->fixture->event;
	called->server.store = called->fixture->store;
	assert_int_equal(identity_new(called->server.store, &called->server.identity), 0);
	token_put(called);
	called->server.callers = rate_table_new(0.1, 5);
	called->server.strangers = rate_table_new(0.1, 5);
	assert_int_equal(
		http_server_new(called->server.event, &options, &called->server.http, &error), 0);
	assert_int_equal(http_server_add_routes(called->server.http, routes, called), 0);
	*state = called;
	return 0;
}

static int tear_down_called(void **state)
{
	struct called *called = *state;

	http_server_free(called->server.http);
	identity_free(called->server.identity);
	rate_table_free(called->server.callers);
	rate_table_free(called->server.strangers);
	tear_down((void **)&called->fixture);
	free(called);
	return 0;
}

/* Asks with a credential (NULL: none), and returns the whole answer. */
static const char *ask(struct called *called, const char *path, const char *bearer)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	static char answer[8192];
	char request[1024];
	ssize_t n = -1;

	strcpy(address.sun_path, called->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	snprintf(request, sizeof(request),
		"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s%s%s\r\n", path,
		bearer ? "Authorization: Bearer " : "", bearer ? bearer : "", bearer ? "\r\n" : "");
	assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
	/* Small: it comes in one piece. */
	await(called->server.event, (n = recv(fd, answer, sizeof(answer) - 1, 0)) > 0);
	answer[n] = '\0';
	close(fd);
	return answer;
}

static void assert_answer(
	struct called *called, const char *path, const char *bearer, const char *wanted)
{
	const char *answer = ask(called, path, bearer);

	if (!strstr(answer, wanted))
		fail_msg("%s: %s instead of %s", path, answer, wanted);
}

static void who_shows_a_token_is_who_it_names(void **state)
{
	struct called *called = *state;

	assert_answer(called, "/person", called->token, "\r\n\r\nalice");
	/* A route that says nothing needs a person. */
	assert_answer(called, "/default", called->token, "\r\n\r\nalice");
	assert_answer(called, "/open", NULL, " 204 ");
	assert_int_equal(called->n_handled, 3);
}

static void who_shows_none_or_a_wrong_one_gets_nowhere(void **state)
{
	struct called *called = *state;
	const char *answer = ask(called, "/default", NULL);

	assert_non_null(strstr(answer, " 401 "));
	assert_non_null(strstr(answer, "\r\nWWW-Authenticate: Bearer\r\n"));
	assert_non_null(strstr(answer, "\"code\":\"AuthenticationFailed\""));
	called->token[10] ^= 1;
	answer = ask(called, "/person", called->token);
	assert_non_null(strstr(answer, " 401 "));
	assert_non_null(strstr(answer, "WWW-Authenticate: Bearer error=\"invalid_token\""));
	/* What was shown is not told to anyone. */
	assert_null(strstr(answer, called->token));
	assert_answer(called, "/agent", NULL, " 401 ");
	assert_answer(called, "/agent", "jga_x", "no such agent");
	assert_int_equal(called->n_handled, 0);
}

static void a_stranger_who_tries_too_often_is_put_off_alone(void **state)
{
	struct called *called = *state;
	const char *answer;

	for (int i = 0; i < 5; i++)
		assert_answer(called, "/person", "guess", " 401 ");
	answer = ask(called, "/person", "guess");
	assert_non_null(strstr(answer, " 429 "));
	assert_non_null(strstr(answer, "Retry-After: "));
	assert_answer(called, "/agent", "guess", " 429 ");
	assert_answer(called, "/open", NULL, " 429 ");
	/* From the same address. */
	assert_answer(called, "/person", called->token, "alice");
}

static void a_person_who_calls_too_often_is_put_off(void **state)
{
	struct called *called = *state;

	for (int i = 0; i < 5; i++)
		assert_answer(called, "/person", called->token, " 200 ");
	assert_answer(called, "/person", called->token, " 429 ");
	assert_int_equal(called->n_handled, 5);
	assert_answer(called, "/open", NULL, " 204 ");
}

int main(void)
{
#define CALLED_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_called, tear_down_called)
	const struct CMUnitTest tests[] = {
		CALLED_TEST(who_shows_a_token_is_who_it_names),
		CALLED_TEST(who_shows_none_or_a_wrong_one_gets_nowhere),
		CALLED_TEST(a_stranger_who_tries_too_often_is_put_off_alone),
		CALLED_TEST(a_person_who_calls_too_often_is_put_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
