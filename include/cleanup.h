/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Ownership: locals that free themselves, and how to hand one over. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _printf_(template, arguments) __attribute__((format(printf, template, arguments)))

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* The value of a pointer, which is NULL afterwards: ownership has moved. */
#define TAKE_PTR(pointer) \
	({ \
		__typeof__(pointer) *take_from_ = &(pointer); \
		__typeof__(pointer) take_value_ = *take_from_; \
		*take_from_ = NULL; \
		take_value_; \
	})

/* The same for a file descriptor, which is -1 afterwards. */
#define TAKE_FD(fd) \
	({ \
		int *take_from_ = &(fd); \
		int take_value_ = *take_from_; \
		*take_from_ = -1; \
		take_value_; \
	})

/* Defines freep-style helpers: DEFINE_CLEANUP(struct grant *, grant_free) gives grant_freep. */
#define DEFINE_CLEANUP(type, function) \
	static inline void function##p(type *pointer) \
	{ \
		if (*pointer) \
			function(*pointer); \
	}

static inline void freep(void *pointer)
{
	free(*(void **)pointer);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

DEFINE_CLEANUP(FILE *, fclose)
