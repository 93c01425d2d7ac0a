/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* URLs of a configuration: which are allowed, and what stands in them. */

#include <stdbool.h>

#define URL_BYTES_MAX 1024

/*
 * https://HOST[:PORT][/PATH][?QUERY], or http:// where HOST is localhost or a loopback address;
 * nobody's name or password, no fragment. Returns NULL where it is one, and otherwise what is
 * wrong, as the rest of a sentence that begins with the URL: "has no host".
 */
const char *url_reason(const char *url);

/* True for a URL that url_reason() lets pass and that is http://. */
bool url_is_plain(const char *url);

/* Percent-encodes all but A-Z a-z 0-9 - . _ ~ (RFC 3986, unreserved): one segment of a path, or a
 * value of a query. Returns text to be freed; NULL for want of memory. */
char *url_encode(const char *text);
