/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/cli/enroll_trust.h"
#include "agent/cli/table.h"
#include "agent/common/file.h"
#include "agent/common/strictjson.h"

#define JWKS_PATH "/.well-known/jwks.json"
#define ANSWER_BYTES_MAX 16

/* Whether the trust holds the very key, whatever its kid. */
static bool trust_holds(const struct trust *trust, const struct trust_key *key)
{
	struct fingerprint wanted, found;

	if (fingerprint_of_key(key->jwk, &wanted) < 0)
		return false;
	for (size_t i = 0; trust && i < trust->n_keys; i++)
		if (fingerprint_of_key(trust->keys[i].jwk, &found) == 0 &&
			fingerprint_is_equal(&wanted, &found))
			return true;
	return false;
}

static int read_keys(
	const struct http *http, const struct http_answer *answer, struct enroll_trust *keys)
{
	_cleanup_(freep) char *path = NULL, *error = NULL;
	int r;

	if (asprintf(&path, "%s" JWKS_PATH, http_url(http)) < 0) {
		path = NULL;
		return output_failure(-ENOMEM);
	}
	r = trust_parse(
		answer->text ? answer->text : "", answer->n_bytes, path, &keys->trust, &error);
	if (r < 0) {
		if (!error)
			return output_failure(r);
		output_error("no agent would trust what the control plane serves: %s", error);
		return EXIT_REFUSED;
	}
	if (fingerprint_of_trust(keys->trust, &keys->fingerprint) < 0) {
		output_error("%s has no keys: is the control plane set up?", path);
		return EXIT_REFUSED;
	}
	keys->text = json_dumps(answer->body, JSON_INDENT(2));
	return keys->text ? EXIT_DONE : output_failure(-ENOMEM);
}

/* An old file that cannot be read trusts nothing; that it goes is told by what comes. */
static int read_former(const char *path, const json_t *served, struct enroll_trust *keys)
{
	_cleanup_(freep) char *text = NULL, *error = NULL;
	json_auto_t *former = NULL;
	char reason[128];
	size_t n_bytes;
	int r;

	keys->changed = true;
	r = file_read(path, TRUST_FILE_BYTES_MAX, &text, &n_bytes);
	if (r == -ENOENT)
		return EXIT_DONE;
	if (r < 0) {
		output_error("%s: %s", path, strerror(-r));
		return EXIT_REFUSED;
	}
	if (trust_parse(text, n_bytes, path, &keys->former, &error) < 0)
		return EXIT_DONE;
	if (json_parse_object(text, n_bytes, &former, reason, sizeof(reason)) == 0)
		keys->changed = !json_equal(former, served);
	for (size_t i = 0; i < keys->former->n_keys; i++)
		keys->n_gone += !trust_holds(keys->trust, &keys->former->keys[i]);
	return EXIT_DONE;
}

int enroll_trust_fetch(
	const struct cli *cli, struct http *http, const char *path, struct enroll_trust *keys)
{
	_cleanup_(http_answer_done) struct http_answer answer;
	int r;

	r = http_call(http, "GET", JWKS_PATH, NULL, SERVER_SECONDS, &answer);
	if (r != 0 || answer.status >= 300)
		return server_explain(cli, r, &answer);
	r = read_keys(http, &answer, keys);
	return r == EXIT_DONE ? read_former(path, answer.body, keys) : r;
}

void enroll_trust_done(struct enroll_trust *keys)
{
	free(keys->text);
	trust_free(keys->trust);
	trust_free(keys->former);
	*keys = (struct enroll_trust){ 0 };
}

static void add_key(
	struct table *table, const struct trust_key *key, enum style style, const char *change)
{
	char text[FINGERPRINT_STRING_MAX] = "?";
	struct fingerprint fingerprint;

	if (fingerprint_of_key(key->jwk, &fingerprint) == 0)
		fingerprint_format(&fingerprint, text);
	table_add(table, STYLE_PLAIN, "  %s", key->kid);
	table_add(table, STYLE_PLAIN, "%s", key->alg);
	table_add(table, STYLE_PLAIN, "%s", text);
	table_add(table, style, "%s", change);
}

/* What comes, what stays, what goes. */
static int show(const struct cli *cli, const struct enroll_trust *keys)
{
	static const char *const headings[] = { "  KEY", "ALG", "FINGERPRINT", "", NULL };
	_cleanup_(table_freep) struct table *table = NULL;
	char text[FINGERPRINT_STRING_MAX];
	int r;

	r = table_new(headings, &table);
	if (r < 0)
		return r;
	for (size_t i = 0; i < keys->trust->n_keys; i++) {
		bool kept = trust_holds(keys->former, &keys->trust->keys[i]);

		add_key(table, &keys->trust->keys[i], kept ? STYLE_FAINT : STYLE_WARNING,
			kept                   ? "trusted already"
				: keys->former ? "new"
					       : "");
	}
	for (size_t i = 0; keys->former && i < keys->former->n_keys; i++)
		if (!trust_holds(keys->trust, &keys->former->keys[i]))
			add_key(table, &keys->former->keys[i], STYLE_BAD, "goes");
	output_line(cli, STYLE_HEADING, "The control plane signs with:");
	r = table_print(table, cli);
	if (r == 0 && keys->trust->n_keys > 1)
		output_line(cli, STYLE_PLAIN, "  all together: %s",
			fingerprint_format(&keys->fingerprint, text));
	fflush(stdout);
	return r;
}

static bool pins_hold(const struct fingerprint *pins, size_t n, const struct fingerprint *wanted)
{
	for (size_t i = 0; i < n; i++)
		if (fingerprint_is_equal(&pins[i], wanted))
			return true;
	return false;
}

/* Whether the pins vouch for all keys: one for the whole, or one for each. */
static bool pins_suffice(const struct fingerprint *pins, size_t n, const struct enroll_trust *keys)
{
	struct fingerprint fingerprint;

	if (pins_hold(pins, n, &keys->fingerprint))
		return true;
	for (size_t i = 0; i < keys->trust->n_keys; i++)
		if (fingerprint_of_key(keys->trust->keys[i].jwk, &fingerprint) < 0 ||
			!pins_hold(pins, n, &fingerprint))
			return false;
	return true;
}

static int read_pins(const struct cli *cli, const struct arguments *arguments,
	struct fingerprint pins[static ENROLL_PINS_MAX], size_t *ret_n)
{
	const char *pin;
	size_t n = 0, index = 0;

	while ((pin = arguments_next(arguments, "trust-fingerprint", &index))) {
		if (n == ENROLL_PINS_MAX)
			return output_usage(
				cli, "more than %d --trust-fingerprint", ENROLL_PINS_MAX);
		if (fingerprint_parse(pin, &pins[n++]) < 0)
			return output_usage(cli,
				"--trust-fingerprint %s is not a SHA-256 fingerprint (jitgate key "
				"fingerprint)",
				pin);
	}
	*ret_n = n;
	return EXIT_DONE;
}

int enroll_trust_check_usage(const struct cli *cli, const struct arguments *arguments)
{
	struct fingerprint pins[ENROLL_PINS_MAX];
	size_t n;

	return read_pins(cli, arguments, pins, &n);
}

static int check_pins(
	const struct cli *cli, const struct arguments *arguments, const struct enroll_trust *keys)
{
	struct fingerprint pins[ENROLL_PINS_MAX];
	char text[FINGERPRINT_STRING_MAX], message[256];
	size_t n;
	int r;

	r = read_pins(cli, arguments, pins, &n);
	if (r != EXIT_DONE || n == 0 || pins_suffice(pins, n, keys))
		return r;
	snprintf(message, sizeof(message),
		"the control plane's keys are not those of --trust-fingerprint: %s is %s. Nothing "
		"was sent or changed",
		keys->trust->n_keys > 1 ? "that of all its keys together" : "its key's",
		fingerprint_format(&keys->fingerprint, text));
	return server_refuse(cli, "fingerprintMismatch", message);
}

/* Whoever types "y" or "yes". */
static bool ask(const char *question)
{
	char answer[ANSWER_BYTES_MAX];

	fprintf(stderr, "%s [y/N] ", question);
	fflush(stderr);
	if (!fgets(answer, sizeof(answer), stdin))
		return false;
	answer[strcspn(answer, "\r\n")] = '\0';
	return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

int enroll_trust_show(
	const struct cli *cli, const struct arguments *arguments, const struct enroll_trust *keys)
{
	int r;

	if (!cli->json) {
		r = show(cli, keys);
		if (r < 0)
			return output_failure(r);
	}
	return check_pins(cli, arguments, keys);
}

int enroll_trust_confirm(
	const struct cli *cli, const struct arguments *arguments, const char *question)
{
	if (arguments_have(arguments, "trust-fingerprint") || arguments_have(arguments, "yes"))
		return EXIT_DONE;
	if (cli->json || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
		output_error("nobody can be asked whether these keys are right: give "
			     "--trust-fingerprint SHA256, or --yes. Nothing was sent or changed");
		return EXIT_REFUSED;
	}
	if (ask(question))
		return EXIT_DONE;
	output_error("nothing was sent or changed");
	return EXIT_REFUSED;
}

static int json_add(json_t *list, const struct trust_key *key, const char *change)
{
	char text[FINGERPRINT_STRING_MAX];
	struct fingerprint fingerprint;

	if (fingerprint_of_key(key->jwk, &fingerprint) < 0)
		return -EINVAL;
	return json_array_append_new(list,
		json_pack("{s:s, s:s, s:s, s:s}", "kid", key->kid, "alg", key->alg, "fingerprint",
			fingerprint_format(&fingerprint, text), "change", change));
}

json_t *enroll_trust_json(const struct enroll_trust *keys)
{
	json_auto_t *list = json_array();

	if (!list)
		return NULL;
	for (size_t i = 0; i < keys->trust->n_keys; i++)
		if (json_add(list, &keys->trust->keys[i],
			    trust_holds(keys->former, &keys->trust->keys[i]) ? "kept" : "added") <
			0)
			return NULL;
	for (size_t i = 0; keys->former && i < keys->former->n_keys; i++)
		if (!trust_holds(keys->trust, &keys->former->keys[i]) &&
			json_add(list, &keys->former->keys[i], "removed") < 0)
			return NULL;
	return TAKE_PTR(list);
}
