/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "agent/cli/findings.h"
#include "agent/cli/output.h"
#include "agent/common/text.h"

#define LINE_COLUMNS 100
#define INDENT_COLUMNS 24
#define NARROW_COLUMNS 60 /* below, a text begins on a line of its own */
#define NARROW_INDENT_COLUMNS 4

struct findings {
	json_t *array;
	size_t last; /* the one that was added last */
	bool failed;
};

static const struct {
	const char *name;
	enum style style;
} verdicts[] = {
	[VERDICT_OK] = { "ok", STYLE_GOOD },
	[VERDICT_UNKNOWN] = { "unknown", STYLE_FAINT },
	[VERDICT_WARNING] = { "warning", STYLE_WARNING },
	[VERDICT_PROBLEM] = { "problem", STYLE_BAD },
};

int findings_new(struct findings **ret)
{
	_cleanup_(findings_freep) struct findings *findings = calloc(1, sizeof(*findings));

	if (!findings)
		return -ENOMEM;
	findings->array = json_array();
	*ret = TAKE_PTR(findings);
	return 0;
}

struct findings *findings_free(struct findings *findings)
{
	if (!findings)
		return NULL;
	json_decref(findings->array);
	free(findings);
	return NULL;
}

/* As JSON takes it: UTF-8, and harmless to a terminal. NULL without memory. */
_printf_(1, 0) static json_t *text_json(const char *format, va_list list)
{
	_cleanup_(freep) char *text = NULL;

	if (vasprintf(&text, format, list) < 0) {
		text = NULL;
		return NULL;
	}
	text_make_printable(text);
	return json_string(text);
}

/* Two sections, or a section and a policy, may name one port: it is told once. */
static bool is_told(struct findings *findings, const char *check, const json_t *message)
{
	json_t *finding;
	size_t i;

	json_array_foreach (findings->array, i, finding)
		if (strcmp(member_text(finding, "check", ""), check) == 0 &&
			json_equal(json_object_get(finding, "message"), message)) {
			findings->last = i;
			return true;
		}
	return false;
}

void findings_add(
	struct findings *findings, const char *check, enum verdict verdict, const char *format, ...)
{
	json_t *message;
	va_list list;

	va_start(list, format);
	message = text_json(format, list);
	va_end(list);
	if (message && is_told(findings, check, message)) {
		json_decref(message);
		return;
	}
	findings->last = json_array_size(findings->array);
	if (json_array_append_new(findings->array,
		    json_pack("{s:s, s:s, s:o, s:n}", "check", check, "verdict",
			    verdicts[verdict].name, "message", message, "advice")) < 0)
		findings->failed = true;
}

void findings_advise(struct findings *findings, const char *format, ...)
{
	json_t *advice;
	va_list list;

	va_start(list, format);
	advice = text_json(format, list);
	va_end(list);
	if (json_object_set_new(json_array_get(findings->array, findings->last), "advice", advice) <
		0)
		findings->failed = true;
}

bool findings_have_problem(const struct findings *findings)
{
	json_t *finding;
	size_t i;

	json_array_foreach (findings->array, i, finding)
		if (strcmp(member_text(finding, "verdict", ""), verdicts[VERDICT_PROBLEM].name) ==
			0)
			return true;
	return false;
}

const json_t *findings_json(const struct findings *findings)
{
	return findings->failed ? NULL : findings->array;
}

static enum style verdict_style(const char *name)
{
	for (size_t i = 0; i < N_ELEMENTS(verdicts); i++)
		if (strcmp(verdicts[i].name, name) == 0)
			return verdicts[i].style;
	return STYLE_PLAIN;
}

/* Where texts stand. */
struct layout {
	size_t n_columns;
	size_t n_indent;
};

static struct layout layout_find(void)
{
	size_t n = terminal_columns(STDOUT_FILENO, LINE_COLUMNS);

	return (struct layout){
		.n_columns = n < LINE_COLUMNS ? n : LINE_COLUMNS,
		.n_indent = n < NARROW_COLUMNS ? NARROW_INDENT_COLUMNS : INDENT_COLUMNS,
	};
}

/* Fills lines with the words of a text, below each other; n_columns are taken of the first. */
static void text_print(const struct layout *layout, const char *text, size_t n_columns)
{
	bool begins = true;

	while (*text) {
		size_t n_word = strcspn(text, " ");

		if (!begins && n_columns + 1 + n_word > layout->n_columns) {
			printf("\n%*s", (int)layout->n_indent, "");
			n_columns = layout->n_indent;
			begins = true;
		}
		n_columns += printf("%s%.*s", begins ? "" : " ", (int)n_word, text);
		begins = false;
		text += n_word + strspn(text + n_word, " ");
	}
	putchar('\n');
}

static void check_print(const struct layout *layout, const char *name)
{
	if (layout->n_indent == INDENT_COLUMNS)
		printf("  %-15s", name);
	else
		printf("  %s\n%*s", name, (int)layout->n_indent, "");
}

int findings_print(const struct findings *findings, const struct cli *cli)
{
	const struct layout layout = layout_find();
	json_t *finding;
	size_t i;

	if (findings->failed)
		return -ENOMEM;
	json_array_foreach (findings->array, i, finding) {
		const char *verdict = member_text(finding, "verdict", "?");
		const char *advice = member_text(finding, "advice", NULL);
		enum style style = verdict_style(verdict);

		printf("%s%-7s%s", style_begin(cli, style), verdict, style_end(cli, style));
		check_print(&layout, member_text(finding, "check", "?"));
		text_print(&layout, member_text(finding, "message", "?"), layout.n_indent);
		if (!advice)
			continue;
		printf("%*snext: ", (int)layout.n_indent, "");
		text_print(&layout, advice, layout.n_indent + strlen("next: "));
	}
	return 0;
}
