/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "agent/common/text.h"
#include "contrib/control-plane/jit/names.h"

#define REQUEST_ID_BYTES 34 /* "r-" and 32 digits */

char *name_lower(const char *text)
{
	char *lower = strdup(text);

	for (char *c = lower; c && *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	return lower;
}

const char *resource_name(const char *id)
{
	const char *slash = strrchr(id, '/');

	return slash ? slash + 1 : id;
}

/* White space of Unicode is left to text_is_printable() and to whoever reads. */
static bool has_forbidden(const char *text, const char *forbidden)
{
	return strpbrk(text, forbidden) || !text_is_printable(text);
}

/* Whoever passes such a path on may take it for another. */
static bool has_dots(const char *id)
{
	for (const char *slash = strchr(id, '/'); slash; slash = strchr(slash + 1, '/')) {
		size_t n = strcspn(slash + 1, "/");

		if ((n == 1 || n == 2) && strncmp(slash + 1, "..", n) == 0)
			return true;
	}
	return false;
}

static bool ends_in_machine(const char *id)
{
	static const char *const types[] = { "/virtualMachines", "/machines" };
	size_t n = (size_t)(resource_name(id) - id) - 1;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		size_t n_type = strlen(types[i]);

		if (n > n_type && strncasecmp(id + n - n_type, types[i], n_type) == 0)
			return true;
	}
	return false;
}

const char *vm_id_check(const char *id)
{
	if (strlen(id) > RESOURCE_ID_BYTES_MAX)
		return "is longer than 512 bytes";
	if (strncasecmp(id, "/subscriptions/", strlen("/subscriptions/")) != 0)
		return "does not begin with /subscriptions/";
	if (has_forbidden(id, "|%?#\\ "))
		return "has white space, a control character or one of | % ? # \\";
	if (strstr(id, "//") || id[strlen(id) - 1] == '/')
		return "has an empty segment";
	if (has_dots(id))
		return "has a segment . or ..";
	if (!ends_in_machine(id))
		return "does not end in /virtualMachines/ and a name";
	return NULL;
}

const char *name_check(const char *name)
{
	if (!*name || strlen(name) > NAME_BYTES_MAX)
		return "is not 1 to 90 bytes long";
	if (has_forbidden(name, "|%?#\\/ "))
		return "has white space, a control character or one of | % ? # / \\";
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return "is no name";
	return NULL;
}

void chance_hex(char *ret, size_t n_bytes)
{
	uint8_t bytes[64];

	/* Up to 256 bytes come whole, and once the kernel is up they always come. */
	if (n_bytes > sizeof(bytes) || getrandom(bytes, n_bytes, 0) != (ssize_t)n_bytes)
		abort();
	for (size_t i = 0; i < n_bytes; i++)
		sprintf(ret + 2 * i, "%02x", bytes[i]);
}

/* RFC 9562 section 5.7, with the fraction of the millisecond in rand_a (section 6.2, method 3). */
void request_id_new(uint64_t now_usec, char ret[static REQUEST_ID_BYTES_MAX])
{
	char chance[17];

	chance_hex(chance, 8);
	chance[0] = "89ab"[chance[0] & 3];
	snprintf(ret, REQUEST_ID_BYTES_MAX, "r-%012" PRIx64 "7%03x%s",
		(now_usec / 1000) & UINT64_C(0xffffffffffff),
		(unsigned)(now_usec % 1000 * 4096 / 1000), chance);
}

static bool is_request_id(const char *id)
{
	if (strncmp(id, "r-", 2) != 0)
		return false;
	return strspn(id + 2, "0123456789abcdef") == REQUEST_ID_BYTES - 2;
}

bool request_id_is_valid(const char *id)
{
	return is_request_id(id) && id[REQUEST_ID_BYTES] == '\0';
}

void grant_id_format(
	const char *request, size_t vm, size_t port, char ret[static GRANT_ID_BYTES_MAX])
{
	snprintf(ret, GRANT_ID_BYTES_MAX, "%.39s.%u.%u", request, (unsigned)vm, (unsigned)port);
}

/* ".17", as it is printed. */
static bool index_parse(const char **text, size_t *ret)
{
	const char *digits = *text + 1;
	size_t n = **text == '.' ? strspn(digits, "0123456789") : 0;

	if (n == 0 || n > 5 || (n > 1 && digits[0] == '0'))
		return false;
	*ret = strtoul(digits, NULL, 10);
	*text = digits + n;
	return true;
}

bool grant_id_parse(const char *id, char ret_request[static REQUEST_ID_BYTES_MAX], size_t *ret_vm,
	size_t *ret_port)
{
	const char *rest = id + REQUEST_ID_BYTES;

	if (!is_request_id(id) || !index_parse(&rest, ret_vm) || !index_parse(&rest, ret_port) ||
		*rest)
		return false;
	memcpy(ret_request, id, REQUEST_ID_BYTES);
	ret_request[REQUEST_ID_BYTES] = '\0';
	return true;
}
