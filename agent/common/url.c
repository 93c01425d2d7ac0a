/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/url.h"

#define HOST_BYTES_MAX 255
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

struct authority {
	char host[HOST_BYTES_MAX + 1]; /* without brackets */
	bool is_literal6;
};

static bool port_is_valid(const char *text)
{
	size_t n = strspn(text, DIGITS);

	return n >= 1 && n <= 5 && text[n] == '\0' && atoi(text) >= 1 && atoi(text) <= 65535;
}

static const char *authority_read(const char *text, size_t n, struct authority *ret)
{
	char copy[HOST_BYTES_MAX + 16];
	char *host = copy, *behind;
	struct in6_addr address;

	if (n >= sizeof(copy))
		return "has a host that is too long";
	memcpy(copy, text, n);
	copy[n] = '\0';
	if (strchr(copy, '@'))
		return "has a user in it";
	ret->is_literal6 = copy[0] == '[';
	if (ret->is_literal6) {
		host = copy + 1;
		behind = strchr(host, ']');
		if (!behind)
			return "has no \"]\" behind its address";
		*behind++ = '\0';
		if (inet_pton(AF_INET6, host, &address) != 1)
			return "has something in brackets that is no IPv6 address";
		if (*behind != '\0' && *behind != ':')
			return "has something between host and port";
	} else {
		behind = host + strcspn(host, ":");
	}
	if (*behind == ':') {
		*behind++ = '\0';
		if (!port_is_valid(behind))
			return "has a port that is no number from 1 to 65535";
	}
	if (*host == '\0')
		return "has no host";
	if (!ret->is_literal6 && host[strspn(host, LETTERS DIGITS ".-_")] != '\0')
		return "has a host with characters that no host has";
	if (strlen(host) > HOST_BYTES_MAX)
		return "has a host that is too long";
	memcpy(ret->host, host, strlen(host) + 1);
	return NULL;
}

static bool authority_is_loopback(const struct authority *authority)
{
	struct in6_addr address6;
	struct in_addr address4;

	if (authority->is_literal6)
		return inet_pton(AF_INET6, authority->host, &address6) == 1 &&
			IN6_IS_ADDR_LOOPBACK(&address6);
	if (strcmp(authority->host, "localhost") == 0)
		return true;
	return inet_pton(AF_INET, authority->host, &address4) == 1 &&
		ntohl(address4.s_addr) >> 24 == 127;
}

const char *url_reason(const char *url)
{
	struct authority authority;
	const char *rest, *reason;

	if (strlen(url) > URL_BYTES_MAX)
		return "is longer than 1024 bytes";
	for (const char *c = url; *c; c++)
		if (*c <= ' ' || *c > '~' || strchr("\"<>\\^`{|}", *c))
			return "has characters that must be percent-encoded";
	if (strchr(url, '#'))
		return "has a fragment";
	if (strncmp(url, "https://", 8) == 0)
		rest = url + 8;
	else if (strncmp(url, "http://", 7) == 0)
		rest = url + 7;
	else
		return "does not begin with https://";
	reason = authority_read(rest, strcspn(rest, "/?"), &authority);
	if (reason)
		return reason;
	if (url_is_plain(url) && !authority_is_loopback(&authority))
		return "is http://, which is for loopback addresses only: use https://";
	return NULL;
}

bool url_is_plain(const char *url)
{
	return strncmp(url, "http://", 7) == 0;
}

char *url_encode(const char *text)
{
	static const char digits[] = "0123456789ABCDEF";
	char *encoded = malloc(3 * strlen(text) + 1), *to = encoded;

	if (!encoded)
		return NULL;
	for (const char *c = text; *c; c++) {
		unsigned char byte = *c;

		if (strchr(LETTERS DIGITS "-._~", byte)) {
			*to++ = *c;
			continue;
		}
		*to++ = '%';
		*to++ = digits[byte >> 4];
		*to++ = digits[byte & 15];
	}
	*to = '\0';
	return encoded;
}
