/* SPDX-License-Identifier: GPL-3.0-or-later */

/* server.conf: what counts where a key is left out is what the example says. Refusals of bad files
 * are in tests/system/test_server_http.py. */

#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "contrib/control-plane/config.h"

#define EXAMPLE "contrib/control-plane/server.conf.example"
#define TEXT_BYTES_MAX (64 * 1024)

/* The example's [server], with the "#" in front of each setting that has a value taken off. Returns
 * how many there are. */
static size_t example_uncommented(char text[static TEXT_BYTES_MAX])
{
	_cleanup_(fclosep) FILE *file = fopen(EXAMPLE, "re");
	char line[512], *end = text;
	size_t n = 0;

	if (!file)
		fail_msg("%s: %s", EXAMPLE, strerror(errno));
	while (fgets(line, sizeof(line), file) && strncmp(line, "#[", 2) != 0) {
		bool is_setting =
			line[0] == '#' && isalpha((unsigned char)line[1]) && !strstr(line, " =\n");

		assert_true(end + strlen(line) < text + TEXT_BYTES_MAX);
		end = stpcpy(end, line + (is_setting ? 1 : 0));
		n += is_setting;
	}
	return n;
}

static struct server_config *load(const char *text)
{
	char path[] = "/tmp/jitgate-server-config-XXXXXX";
	_cleanup_(freep) char *error = NULL;
	_cleanup_(closep) int fd = mkstemp(path);
	struct server_config *config = NULL;

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	if (server_config_load(path, &config, &error) < 0)
		fail_msg("%s", error);
	unlink(path);
	return config;
}

static void the_example_shows_the_defaults(void **state)
{
	static char text[TEXT_BYTES_MAX];
	_cleanup_(server_config_freep) struct server_config *shown = NULL, *bare = NULL;

	(void)state;
	assert_int_equal(example_uncommented(text), 7);
	shown = load(text);
	bare = load("[server]\n");
	assert_string_equal(shown->listen, bare->listen);
	assert_string_equal(shown->state, bare->state);
	assert_string_equal(shown->signing_key, bare->signing_key);
	assert_int_equal(shown->max_connections, bare->max_connections);
	assert_int_equal(shown->max_connections_per_address, bare->max_connections_per_address);
	assert_int_equal(shown->rate_limit, bare->rate_limit);
	assert_int_equal(shown->activity_retention, bare->activity_retention);
	assert_string_equal(bare->url, "http://127.0.0.1:8443");
	assert_null(bare->tls_certificate);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_shows_the_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
