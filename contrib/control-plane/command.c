/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <string.h>
#include <time.h>

#include "agent/common/program.h"
#include "agent/common/text.h"
#include "agent/common/times.h"
#include "contrib/control-plane/activity/activity.h"
#include "contrib/control-plane/command.h"
#include "contrib/control-plane/config.h"
#include "contrib/control-plane/identity/credential.h"
#include "contrib/control-plane/identity/tokens.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/state/instant.h"

#define FOR_DEFAULT "P90D"
#define ENROLLMENT_SECONDS 3600
#define ENROLLMENTS_PREFIX "enrollments/"
#define ID_CHARACTERS 12 /* of the hash: what people handle */
#define ID_CHARACTERS_MIN 8
#define OPERATIONS_MAX 2

struct options {
	const char *principal, *role, *scope, *duration;
	const char **vms;
	size_t n_vms;
};

/* An open store, and what the call that is waited for told. */
struct session {
	const struct server_config *config;
	sd_event *event;
	struct store *store;
	bool is_told;
	int error;
	int64_t lease;
	int64_t activity_lease; /* 0: none yet */
	struct tokens tokens;
	char who[64]; /* ran the command: "local:root" */
};

static const char usage[] =
	"       jitgate-server [-c FILE] token new --principal NAME --role ROLE\n"
	"                                          --scope PATH [--for DURATION]\n"
	"       jitgate-server [-c FILE] token list\n"
	"       jitgate-server [-c FILE] token revoke ID\n"
	"       jitgate-server [-c FILE] enrollment new --vm ID ...\n";

static const char token_new_help[] =
	"Makes a token and prints it, once: only its hash is kept.\n\n"
	"  --principal NAME   whose it is, as the activity log will say\n"
	"  --role ROLE        reader, requester, approver or administrator\n"
	"  --scope PATH       where: / for all, /subscriptions/S, or below\n"
	"  --for DURATION     how long it is good, ISO 8601 (default: " FOR_DEFAULT ")\n\n"
	"Example: jitgate-server token new --principal alice@example.org \\\n"
	"    --role requester --scope /\n";
static const char token_list_help[] =
	"Lists the tokens that are good: id, principal, role, scope, end.\n\n"
	"Example: jitgate-server token list\n";
static const char token_revoke_help[] =
	"Makes a token worthless at once. ID is what `token list` shows.\n\n"
	"Example: jitgate-server token revoke 4f1c2a9b0d3e\n";
static const char enrollment_new_help[] =
	"Makes a token with which a VM joins (`jitgate enroll`), good once and for an\n"
	"hour, and prints it.\n\n"
	"  --vm ID            the VM's id, as documents will name it; several --vm give\n"
	"                     a token each, a line each, in their order\n\n"
	"Example: jitgate-server enrollment new --vm \\\n"
	"    /subscriptions/S/resourceGroups/R/providers/Microsoft.Compute/virtualMachines/web-1\n";

void command_print_help(FILE *file)
{
	fputs(usage, file);
}

static _printf_(1, 2) int fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("jitgate-server: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	return EXIT_FAILURE;
}

static _printf_(1, 2) int fail_usage(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("jitgate-server: ", stderr);
	vfprintf(stderr, format, arguments);
	fputs("\nTry 'jitgate-server --help'.\n", stderr);
	va_end(arguments);
	return EXIT_USAGE;
}

/* Before it becomes another: who sits at this machine. */
static void session_name(struct session *session)
{
	const char *sudo_user = getuid() == 0 ? getenv("SUDO_USER") : NULL;
	const struct passwd *user = getpwuid(getuid());

	if (sudo_user && text_is_printable(sudo_user))
		snprintf(session->who, sizeof(session->who), "local:%.32s", sudo_user);
	else if (user)
		snprintf(session->who, sizeof(session->who), "local:%.32s", user->pw_name);
	else
		snprintf(session->who, sizeof(session->who), "local:%u", getuid());
}

static int session_open(struct session *session)
{
	_cleanup_(freep) char *error = NULL;
	int r;

	session_name(session);
	r = server_config_become_owner(session->config, 0);
	if (r >= 0)
		r = sd_event_new(&session->event);
	if (r >= 0)
		r = store_open(session->event, session->config->state, &session->store, &error);
	if (r < 0)
		return fail("%s", error ? error : strerror(-r));
	return 0;
}

static void session_close(struct session *session)
{
	tokens_done(&session->tokens);
	store_free(session->store);
	sd_event_unref(session->event);
}

/* Runs the loop until the call's handler has been called. r is what the call returned. */
static int session_await(struct session *session, int r)
{
	while (r >= 0 && !session->is_told)
		r = sd_event_run(session->event, UINT64_MAX);
	session->is_told = false;
	return r < 0 ? r : session->error;
}

static void on_lease(int error, int64_t lease, void *userdata)
{
	struct session *session = userdata;

	session->error = error;
	session->lease = lease;
	session->is_told = true;
}

static void on_commit(int error, int64_t revision, void *userdata)
{
	struct session *session = userdata;

	(void)revision;
	session->error = error;
	session->is_told = true;
}

static void on_range(int error, const struct store_range_result *result, void *userdata)
{
	struct session *session = userdata;

	session->error = error;
	for (size_t i = 0; session->error == 0 && i < result->n_entries; i++) {
		const struct store_event event = { .entry = result->entries[i] };

		session->error = tokens_take(&session->tokens, &event);
	}
	session->is_told = true;
}

/* One for all entries of a command. */
static int session_lease_activity(struct session *session)
{
	int r = 0;

	if (session->activity_lease == 0)
		r = session_await(session,
			store_lease_grant(session->store, session->config->activity_retention,
				on_lease, session));
	if (r >= 0 && session->activity_lease == 0)
		session->activity_lease = session->lease;
	return r;
}

/* Does the operation, with an entry of the activity log. Returns the exit status. */
static int session_commit(struct session *session, const struct store_operation *operation,
	struct activity_entry *entry)
{
	const int64_t now_usec = (int64_t)clock_realtime_usec();
	char key[sizeof("activity/") + INSTANT_STRING_MAX + 17], time[INSTANT_STRING_MAX], id[17];
	struct store_operation operations[OPERATIONS_MAX] = { *operation };
	json_auto_t *json = NULL;
	_cleanup_(freep) char *value = NULL;
	int r;

	entry->principal = session->who;
	entry->result = "Succeeded";
	chance_hex(id, 8);
	json = activity_entry_to_json(entry, id, now_usec);
	value = json ? json_dumps(json, JSON_COMPACT) : NULL;
	r = value ? session_lease_activity(session) : -ENOMEM;
	if (r >= 0) {
		snprintf(key, sizeof(key), "activity/%s/%s", instant_format(now_usec, time), id);
		operations[1] = (struct store_operation){
			.type = STORE_PUT,
			.key = key,
			.value = value,
			.n_value = strlen(value),
			.lease = session->activity_lease,
		};
		r = session_await(session,
			store_commit(session->store,
				&(struct store_transaction){
					.operations = operations,
					.n_operations = OPERATIONS_MAX,
				},
				on_commit, session));
	}
	return r < 0 ? fail("%s: %s", session->config->state, strerror(-r)) : EXIT_SUCCESS;
}

/* Keeps value under the hash of a credential for a time. Returns the exit status. */
static int session_keep(struct session *session, const char *prefix, const char *hash,
	const char *value, int64_t ttl_seconds, struct activity_entry *entry)
{
	char key[sizeof(ENROLLMENTS_PREFIX) + CREDENTIAL_HASH_MAX];
	struct store_operation operation = {
		.type = STORE_PUT,
		.key = key,
		.value = value,
		.n_value = strlen(value),
	};
	int r;

	snprintf(key, sizeof(key), "%s%s", prefix, hash);
	r = session_await(
		session, store_lease_grant(session->store, ttl_seconds, on_lease, session));
	if (r < 0)
		return fail("%s: %s", session->config->state, strerror(-r));
	operation.lease = session->lease;
	return session_commit(session, &operation, entry);
}

static int session_read_tokens(struct session *session)
{
	_cleanup_(freep) char *end = store_prefix_end(TOKENS_PREFIX);
	const struct store_range range = { .from = TOKENS_PREFIX, .to = end };
	int r = end ? 0 : -ENOMEM;

	if (r == 0)
		r = session_await(session, store_range(session->store, &range, on_range, session));
	return r < 0 ? fail("%s: %s", session->config->state, strerror(-r)) : 0;
}

/* The entry of a token; message is of the caller's frame. */
static struct activity_entry token_entry(const char *operation, const char *hash,
	const struct token *token, char message[static 1024])
{
	char expires[TIME_STRING_MAX];

	snprintf(message, 1024, "token %.*s of %s: %s in %s until %s", ID_CHARACTERS, hash,
		token->principal, role_name(token->assignment.role), token->assignment.scope,
		time_format_utc(token->expires, expires));
	return (struct activity_entry){ .operation = operation, .message = message };
}

static int token_new(struct session *session, const struct options *options)
{
	_cleanup_(freep) char *value = NULL;
	char text[CREDENTIAL_STRING_MAX], hash[CREDENTIAL_HASH_MAX], message[1024];
	_cleanup_(token_done) struct token token = { .created = time(NULL) };
	struct activity_entry entry;
	int64_t seconds;

	/* The role and the scope were checked with the arguments. */
	(void)role_parse(options->role, &token.assignment.role);
	(void)duration_parse(options->duration, &seconds);
	token.principal = strdup(options->principal);
	token.assignment.scope = strdup(options->scope);
	token.expires = token.created + seconds;
	if (token.principal && token.assignment.scope)
		value = token_format(&token);
	if (!value || credential_new(CREDENTIAL_TOKEN, text) < 0 || credential_hash(text, hash) < 0)
		return fail("no memory, or no random numbers");
	entry = token_entry(OPERATION_TOKEN_NEW, hash, &token, message);
	if (session_keep(session, TOKENS_PREFIX, hash, value, seconds, &entry) != 0)
		return EXIT_FAILURE;
	puts(text);
	return EXIT_SUCCESS;
}

static int token_list(struct session *session, const struct options *options)
{
	(void)options;
	if (session_read_tokens(session) != 0)
		return EXIT_FAILURE;
	for (size_t i = 0; i < session->tokens.n_tokens; i++) {
		const struct token *token = &session->tokens.tokens[i];
		char expires[TIME_STRING_MAX];

		printf("%.*s  %s  %s  %s  until %s\n", ID_CHARACTERS, token->hash, token->principal,
			role_name(token->assignment.role), token->assignment.scope,
			time_format_utc(token->expires, expires));
	}
	return EXIT_SUCCESS;
}

static int token_revoke(struct session *session, const char *id)
{
	char key[sizeof(TOKENS_PREFIX) + CREDENTIAL_HASH_MAX];
	const struct store_operation operation = { .type = STORE_DELETE, .key = key };
	const struct token *found = NULL;
	struct activity_entry entry;
	char message[1024];

	if (session_read_tokens(session) != 0)
		return EXIT_FAILURE;
	for (size_t i = 0; i < session->tokens.n_tokens; i++) {
		const struct token *token = &session->tokens.tokens[i];

		if (strncmp(token->hash, id, strlen(id)) != 0)
			continue;
		if (found)
			return fail("\"%s\" begins the ids of several tokens: give more of it", id);
		found = token;
	}
	if (!found)
		return fail("no token \"%s\": see 'jitgate-server token list'", id);
	snprintf(key, sizeof(key), "%s%s", TOKENS_PREFIX, found->hash);
	entry = token_entry(OPERATION_TOKEN_REVOKE, found->hash, found, message);
	if (session_commit(session, &operation, &entry) != 0)
		return EXIT_FAILURE;
	printf("revoked: %.*s of %s\n", ID_CHARACTERS, found->hash, found->principal);
	return EXIT_SUCCESS;
}

static int enroll(struct session *session, const char *vm)
{
	_cleanup_(freep) char *value = NULL;
	char text[CREDENTIAL_STRING_MAX], hash[CREDENTIAL_HASH_MAX];
	json_auto_t *json = json_pack("{s:s}", "vm", vm);
	struct activity_entry entry = {
		.operation = OPERATION_ENROLLMENT_NEW,
		.vm = vm,
		.message = "may be enrolled within an hour",
	};

	value = json ? json_dumps(json, JSON_COMPACT) : NULL;
	if (!value || credential_new(CREDENTIAL_ENROLLMENT, text) < 0 ||
		credential_hash(text, hash) < 0)
		return fail("no memory, or no random numbers");
	if (session_keep(session, ENROLLMENTS_PREFIX, hash, value, ENROLLMENT_SECONDS, &entry) != 0)
		return EXIT_FAILURE;
	puts(text);
	return EXIT_SUCCESS;
}

static int enrollment_new(struct session *session, const struct options *options)
{
	int status = EXIT_SUCCESS;

	for (size_t i = 0; i < options->n_vms && status == EXIT_SUCCESS; i++)
		status = enroll(session, options->vms[i]);
	return status;
}

static int check_token_new(const struct options *options)
{
	enum role role;
	int64_t seconds;

	if (!options->principal || !options->role || !options->scope)
		return fail_usage("token new needs --principal, --role and --scope");
	if (!*options->principal || strlen(options->principal) > ISSUER_PRINCIPAL_BYTES_MAX ||
		!text_is_printable(options->principal))
		return fail_usage("--principal must be 1 to %d bytes without control characters",
			ISSUER_PRINCIPAL_BYTES_MAX);
	if (role_parse(options->role, &role) < 0)
		return fail_usage(
			"--role must be reader, requester, approver or administrator, not \"%s\"",
			options->role);
	if (scope_check(options->scope) < 0)
		return fail_usage("--scope must be / or as /subscriptions/S, without a slash at "
				  "its end, not \"%s\"",
			options->scope);
	if (duration_parse(options->duration, &seconds) < 0)
		return fail_usage("--for must be an ISO 8601 duration of at most 366 days, as "
				  "P90D, not \"%s\"",
			options->duration);
	return 0;
}

static int check_token_list(const struct options *options)
{
	(void)options;
	return 0;
}

static int check_enrollment_new(const struct options *options)
{
	if (options->n_vms == 0)
		return fail_usage("enrollment new needs --vm");
	/* As a policy takes them: of another no agent would ever be given a thing. */
	for (size_t i = 0; i < options->n_vms; i++) {
		const char *reason = vm_id_check(options->vms[i]);

		if (reason)
			return fail_usage("--vm \"%s\" %s", options->vms[i], reason);
	}
	return 0;
}

static const struct command {
	const char *first, *second;
	const char *help;
	const char *options; /* letters, as getopt_long() returns them */
	int (*check)(const struct options *options);
	int (*run)(struct session *session, const struct options *options);
	int (*run_id)(struct session *session, const char *id);
} commands[] = {
	{ "token", "new", token_new_help, "prsf", check_token_new, token_new, NULL },
	{ "token", "list", token_list_help, "", check_token_list, token_list, NULL },
	{ "token", "revoke", token_revoke_help, "", check_token_list, NULL, token_revoke },
	{ "enrollment", "new", enrollment_new_help, "v", check_enrollment_new, enrollment_new,
		NULL },
};

static const struct command *command_find(int n_arguments, char **arguments)
{
	for (size_t i = 0; n_arguments >= 2 && i < N_ELEMENTS(commands); i++)
		if (strcmp(commands[i].first, arguments[0]) == 0 &&
			strcmp(commands[i].second, arguments[1]) == 0)
			return &commands[i];
	return NULL;
}

static int id_check(const char *id)
{
	size_t n_bytes = strlen(id);

	if (n_bytes >= ID_CHARACTERS_MIN && strspn(id, "0123456789abcdef") == n_bytes)
		return 0;
	return fail_usage("\"%s\" is no id of a token: see 'jitgate-server token list'", id);
}

/* Where the value of an option goes; NULL where the command does not take it. */
static const char **option_slot(const struct command *command, struct options *options, int letter)
{
	if (letter == '?' || !strchr(command->options, letter))
		return NULL;
	switch (letter) {
	case 'p':
		return &options->principal;
	case 'r':
		return &options->role;
	case 's':
		return &options->scope;
	case 'f':
		return &options->duration;
	default:
		return &options->vms[options->n_vms++];
	}
}

/* Returns 0; -1 where help was asked for; the exit status. */
static int options_read(const struct command *command, int n_arguments, char **arguments,
	struct options *options, const char **ret_id)
{
	static const struct option known[] = {
		{ "principal", required_argument, NULL, 'p' },
		{ "role", required_argument, NULL, 'r' },
		{ "scope", required_argument, NULL, 's' },
		{ "for", required_argument, NULL, 'f' },
		{ "vm", required_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{},
	};
	int letter, index = -1;

	optind = 0;
	/* ":": what is wrong is told here. */
	while ((letter = getopt_long(n_arguments, arguments, ":h", known, &index)) >= 0) {
		const char *dashes = index < 0 ? "" : "--";
		const char *name = index < 0 ? arguments[optind - 1] : known[index].name;
		const char **slot;

		if (letter == 'h')
			return -1;
		if (letter == ':')
			return fail_usage(
				"%s %s: %s needs a value", command->first, command->second, name);
		slot = option_slot(command, options, letter);
		if (!slot)
			return fail_usage("%s %s has no option %s%s", command->first,
				command->second, dashes, name);
		if (*slot)
			return fail_usage("%s %s: %s%s is given twice", command->first,
				command->second, dashes, name);
		*slot = optarg;
		index = -1;
	}
	if (!options->duration)
		options->duration = FOR_DEFAULT;
	if (n_arguments - optind != (command->run_id ? 1 : 0))
		return fail_usage("%s %s takes %s", command->first, command->second,
			command->run_id ? "one id" : "options only");
	*ret_id = arguments[optind];
	return command->run_id ? id_check(*ret_id) : command->check(options);
}

static int command_do(const struct command *command, struct session *session,
	const struct options *options, const char *id)
{
	int status = session_open(session);

	if (status == 0)
		status = command->run ? command->run(session, options)
				      : command->run_id(session, id);
	session_close(session);
	return status;
}

int command_run(const char *config_path, int n_arguments, char **arguments)
{
	_cleanup_(server_config_freep) struct server_config *config = NULL;
	const struct command *command = command_find(n_arguments, arguments);
	_cleanup_(freep) const char **vms = calloc(n_arguments, sizeof(*vms));
	struct options options = { .vms = vms };
	_cleanup_(freep) char *error = NULL;
	struct session session = { 0 };
	const char *id = NULL;
	int status;

	if (!vms)
		return fail("out of memory");
	if (!command)
		return fail_usage("no command \"%s%s%s\": there are token new, token list, token "
				  "revoke and enrollment new",
			arguments[0], n_arguments > 1 ? " " : "",
			n_arguments > 1 ? arguments[1] : "");
	status = options_read(command, n_arguments - 1, arguments + 1, &options, &id);
	if (status == -1) {
		fputs(command->help, stdout);
		return EXIT_SUCCESS;
	}
	if (status != 0)
		return status;
	if (server_config_load(config_path, &config, &error) < 0)
		return fail("%s", error ? error : "out of memory");
	session.config = config;
	return command_do(command, &session, &options, id);
}
