/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Azure's three answers for what was seen, a proposal that is a configuration, and where the asker
 * sits. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "agent/cli/assessment.h"
#include "agent/cli/origin.h"
#include "agent/cli/ssh_socket.h"

static struct exposure listening(uint16_t port, const char *service)
{
	return (struct exposure){
		.port = port,
		.l4proto = IPPROTO_TCP,
		.service = service,
		.process = "sshd",
		.addresses = "0.0.0.0",
		.is_outward = true,
		.managed_is_known = true,
		.is_judged = true,
		.refused_by = "table ip t, chain c (policy drop)",
	};
}

static enum answer answer_to(struct exposure exposure, const char *reason)
{
	exposure_assess(&exposure);
	if (!strstr(exposure.reason, reason))
		fail_msg("\"%s\" is not in \"%s\"", reason, exposure.reason);
	return exposure.answer;
}

static void who_gets_in_decides(void **state)
{
	struct exposure e = listening(22, "ssh");

	(void)state;
	assert_int_equal(answer_to(e, "refuses everyone"), ANSWER_UNSUPPORTED);
	e.may_be_reached = true;
	assert_int_equal(answer_to(e, "some sources"), ANSWER_NOT_CONFIGURED);
	e.may_be_open = true;
	assert_int_equal(answer_to(e, "may be open to anyone"), ANSWER_NOT_CONFIGURED);
	e.is_open = true;
	assert_int_equal(answer_to(e, "nothing on this host refuses"), ANSWER_NOT_CONFIGURED);
	e.is_judged = false;
	assert_int_equal(answer_to(e, "can't be told"), ANSWER_NOT_CONFIGURED);
	e.managed_is_known = false;
	assert_int_equal(answer_to(e, "whether it is managed"), ANSWER_NOT_CONFIGURED);
	e.is_managed = true;
	assert_int_equal(answer_to(e, "nobody is refused"), ANSWER_CONFIGURED);
	e.gate_stands = -EPERM;
	assert_int_equal(answer_to(e, "where the gate stands"), ANSWER_CONFIGURED);
	e.gate_stands = 1;
	assert_int_equal(answer_to(e, "who was not granted is refused"), ANSWER_CONFIGURED);
	e.is_audit = true;
	assert_int_equal(answer_to(e, "not refused yet"), ANSWER_CONFIGURED);
	e.is_outward = false;
	assert_int_equal(answer_to(e, "nobody but this host"), ANSWER_UNSUPPORTED);
}

/* Every port that is known, twice: the names differ, and the file is a configuration. */
static void a_proposal_is_a_configuration(void **state)
{
	static struct exposure exposures[EXPOSURES_MAX];
	char path[] = "/tmp/jitgate-proposal-XXXXXX";
	_cleanup_(config_freep) struct config *config = NULL, *more = NULL;
	_cleanup_(freep) char *error = NULL;
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");
	size_t n = 0;

	(void)state;
	assert_non_null(file);
	for (uint16_t port = 1; port < 30000 && n < 100; port++)
		if (service_name(port, IPPROTO_TCP))
			exposures[n++] = listening(port, service_name(port, IPPROTO_TCP));
	for (size_t i = 0, n_first = n; i < n_first; i++) {
		exposures[n] = exposures[i];
		exposures[n++].l4proto = IPPROTO_UDP;
	}
	exposures[n++] = listening(2222, "ssh");
	for (size_t i = 0; i < n; i++) {
		exposures[i].is_open = true;
		exposure_assess(&exposures[i]);
	}
	proposal_write(file, exposures, n, true, NULL, "2001:db8::7");
	assert_int_equal(fflush(file), 0);
	assert_int_equal(config_load(path, &config, &error), 0);
	assert_int_equal(config->n_ports, n);
	assert_int_equal(config->mode, MODE_AUDIT);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(config->ports[i].rule.max_duration, 3 * 3600);
	/* The same again, added to it: no name is taken twice. */
	proposal_write(file, exposures, n, false, config, NULL);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(config_load(path, &more, &error), 0);
	assert_int_equal(more->n_ports, 2 * n);
	unlink(path);
}

static void an_ssh_connection_is_read(void **state)
{
	static const char *const wrong[] = { "", "x", "192.0.2.7", "192.0.2.7 1 192.0.2.1",
		"192.0.2.7 1 192.0.2.1 0", "192.0.2.7 1 192.0.2.1 65536",
		"192.0.2.7 1 192.0.2.1 22 x", "host 1 192.0.2.1 22", "192.0.2.0/24 1 192.0.2.1 22",
		"* 1 192.0.2.1 22" };
	static const struct address v4 = { .bytes = { 192, 0, 2, 7 } };
	struct origin origin = {};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(wrong); i++)
		assert_int_equal(origin_parse(wrong[i], &origin), -EINVAL);
	assert_int_equal(origin_parse("192.0.2.7 50000 192.0.2.1 2222", &origin), 0);
	assert_int_equal(origin.family, AF_INET);
	assert_int_equal(origin.port, 2222);
	assert_int_equal(address_compare(&origin.source, &v4), 0);
	assert_int_equal(origin_parse("::ffff:192.0.2.7 50000 ::ffff:192.0.2.1 22", &origin), 0);
	assert_int_equal(origin.family, AF_INET);
	assert_int_equal(address_compare(&origin.source, &v4), 0);
	assert_int_equal(origin_parse("fe80::7%eth0 50000 fe80::1%eth0 22", &origin), 0);
	assert_int_equal(origin.family, AF_INET6);
	assert_int_equal(origin.source.bytes[15], 7);
}

static void a_socket_unit_is_read(void **state)
{
	static const struct {
		const char *line;
		uint16_t port;
	} lines[] = {
		{ "ListenStream=22\n", 22 },
		{ " ListenStream = [::]:2222 \n", 2222 },
		{ "ListenStream=0.0.0.0:22", 22 },
		{ "ListenStream=\n", 0 },
		{ "ListenStream=/run/ssh.sock\n", 0 },
		{ "ListenStream=vsock::22x\n", 0 },
		{ "ListenStream=65536\n", 0 },
		{ "#ListenStream=22\n", 0 },
		{ "ListenStreams=22\n", 0 },
		{ "ListenDatagram=22\n", 0 },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(lines); i++)
		assert_int_equal(ssh_socket_port(lines[i].line), lines[i].port);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_gets_in_decides),
		cmocka_unit_test(a_proposal_is_a_configuration),
		cmocka_unit_test(an_ssh_connection_is_read),
		cmocka_unit_test(a_socket_unit_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
