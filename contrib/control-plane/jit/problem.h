/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Why the control plane does not do what it was asked: a status, Azure's code, a sentence. */

#include "cleanup.h"

#define PROBLEM_MESSAGE_MAX 2048

struct problem {
	unsigned status;
	const char *code; /* static */
	char message[PROBLEM_MESSAGE_MAX];
};

/* What functions that may say no return: documented, positive, the problem filled in. */
#define PROBLEM 1

/* Fills a problem in and returns PROBLEM. What is not printable becomes '?'. */
int problem_set(struct problem *problem, unsigned status, const char *code, const char *format, ...)
	_printf_(4, 5);

/* 400 InvalidRequestContent. */
int problem_content(struct problem *problem, const char *format, ...) _printf_(2, 3);
