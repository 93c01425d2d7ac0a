/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <stdarg.h>

#include "agent/common/text.h"
#include "contrib/control-plane/jit/problem.h"

static _printf_(4, 0) int problem_vset(struct problem *problem, unsigned status, const char *code,
	const char *format, va_list arguments)
{
	problem->status = status;
	problem->code = code;
	vsnprintf(problem->message, sizeof(problem->message), format, arguments);
	text_make_printable(problem->message);
	return PROBLEM;
}

int problem_set(struct problem *problem, unsigned status, const char *code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	problem_vset(problem, status, code, format, arguments);
	va_end(arguments);
	return PROBLEM;
}

int problem_content(struct problem *problem, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	problem_vset(problem, 400, "InvalidRequestContent", format, arguments);
	va_end(arguments);
	return PROBLEM;
}
