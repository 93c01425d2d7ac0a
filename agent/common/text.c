/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/text.h"

/* Length of the UTF-8 character (RFC 3629) at text and its code point; 0 where there is none. */
static size_t utf8_decode(const char *text, uint32_t *ret)
{
	const unsigned char *bytes = (const unsigned char *)text;
	uint32_t code, least;
	size_t n;

	if (bytes[0] < 0x80) {
		*ret = bytes[0];
		return 1;
	}
	if ((bytes[0] & 0xe0) == 0xc0) {
		n = 2, least = 0x80, code = bytes[0] & 0x1f;
	} else if ((bytes[0] & 0xf0) == 0xe0) {
		n = 3, least = 0x800, code = bytes[0] & 0x0f;
	} else if ((bytes[0] & 0xf8) == 0xf0) {
		n = 4, least = 0x10000, code = bytes[0] & 0x07;
	} else {
		return 0;
	}
	/* The terminating NUL is no continuation byte, so this never reads past it. */
	for (size_t i = 1; i < n; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (bytes[i] & 0x3f);
	}
	if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*ret = code;
	return n;
}

static bool code_is_printable(uint32_t code)
{
	if (code < 0x20 || (code >= 0x7f && code <= 0x9f))
		return false;
	/* U+2028, U+2029: separators; U+202A to U+202E, U+2066 to U+2069: writing direction. */
	return !(code >= 0x2028 && code <= 0x202e) && !(code >= 0x2066 && code <= 0x2069);
}

bool text_is_printable(const char *text)
{
	uint32_t code;
	size_t n;

	for (; *text; text += n) {
		n = utf8_decode(text, &code);
		if (n == 0 || !code_is_printable(code))
			return false;
	}
	return true;
}

void text_make_printable(char *text)
{
	char *to = text;
	uint32_t code;
	size_t n;

	for (const char *from = text; *from; from += n) {
		n = utf8_decode(from, &code);
		if (n > 0 && code_is_printable(code)) {
			memmove(to, from, n);
			to += n;
		} else {
			*to++ = '?';
			n = n > 0 ? n : 1;
		}
	}
	*to = '\0';
}

static void shorten(char *text, size_t n)
{
	static const char ellipsis[] = "\xe2\x80\xa6";
	size_t end = n - sizeof(ellipsis);

	while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
		end--;
	memcpy(text + end, ellipsis, sizeof(ellipsis));
}

void text_vfill(char *text, size_t n, const char *format, va_list arguments)
{
	int n_wanted = vsnprintf(text, n, format, arguments);

	if (n_wanted < 0)
		text[0] = '\0';
	else if ((size_t)n_wanted >= n)
		shorten(text, n);
}

void text_fill(char *text, size_t n, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	text_vfill(text, n, format, arguments);
	va_end(arguments);
}
