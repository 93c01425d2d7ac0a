/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <dlfcn.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <sanitizer/allocator_interface.h>
#include <sanitizer/lsan_interface.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/outside.h"

#define SOCKETS_MAX 16
#define ANSWER_BYTES_MAX 65536
#define PARSED_MAX 8192

#define NOT_COVERED __attribute__((no_sanitize("coverage")))

/* In libmnl's place: one end is the program's, the other the kernel's. */
struct mnl_socket {
	int fd;
	int kernel_fd;
	uint32_t port;
};

static struct mnl_socket *sockets[SOCKETS_MAX];
static const uint8_t *answers;
static size_t n_answers;

static void on_malloc(const volatile void *memory, size_t n_bytes);
static void on_free(const volatile void *memory);

void kernel_answer_with(const uint8_t *messages, size_t n_bytes)
{
	static bool is_hooked;

	if (!is_hooked)
		is_hooked = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) != 0;
	answers = messages;
	n_answers = n_bytes;
}

static struct mnl_socket *socket_find(int fd)
{
	for (size_t i = 0; i < SOCKETS_MAX; i++)
		if (sockets[i] && sockets[i]->fd == fd)
			return sockets[i];
	return NULL;
}

/* No kernel sends a length of 2 GiB and more, and libmnl 1.0.5 takes it for a negative one. */
static bool lengths_are_possible(const uint8_t *bytes, size_t n_bytes)
{
	size_t at = 0;

	while (at < n_bytes && n_bytes - at >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head;

		memcpy(&head, bytes + at, sizeof(head));
		if (head.nlmsg_len > INT32_MAX)
			return false;
		if (head.nlmsg_len < sizeof(head))
			return true;
		at += MNL_ALIGN(head.nlmsg_len);
	}
	return true;
}

void kernel_tell(int fd, const uint8_t *bytes, size_t n_bytes)
{
	/* One of no bytes would look like the end of the connection. */
	if (n_bytes > 0 && lengths_are_possible(bytes, n_bytes))
		(void)send(socket_find(fd)->kernel_fd, bytes, n_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* NEWSET, GETSET; of rtnetlink NEWLINK, DELLINK, GETLINK. */
static bool answers_request(uint16_t answer, uint16_t request)
{
	return answer < NLMSG_MIN_TYPE || answer == request || answer + 1 == request ||
		(request < RTM_MAX && answer + 2 == request);
}

static void send_answers(const struct mnl_socket *socket, const struct nlmsghdr *request)
{
	static uint8_t buffer[ANSWER_BYTES_MAX];
	size_t at = 0, n = 0;

	while (n_answers - at >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head;

		memcpy(&head, answers + at, sizeof(head));
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > n_answers - at)
			break;
		if (answers_request(head.nlmsg_type, request->nlmsg_type)) {
			memcpy(buffer + n, answers + at, head.nlmsg_len);
			head.nlmsg_seq = request->nlmsg_seq;
			head.nlmsg_pid = socket->port;
			head.nlmsg_flags |= NLM_F_MULTI;
			memcpy(buffer + n, &head, sizeof(head));
			n += MNL_ALIGN(head.nlmsg_len);
		}
		at += MNL_ALIGN(head.nlmsg_len);
		if (at > n_answers)
			break;
	}
	kernel_tell(socket->fd, buffer, n);
}

/* The end of a dump, or an acknowledgement. */
static void send_end(const struct mnl_socket *socket, const struct nlmsghdr *request, uint16_t type)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
	} end = { .head = { .nlmsg_len = sizeof(end),
			  .nlmsg_type = type,
			  .nlmsg_seq = request->nlmsg_seq,
			  .nlmsg_pid = socket->port } };

	kernel_tell(socket->fd, (const uint8_t *)&end, sizeof(end));
}

static void serve(const struct mnl_socket *socket, const void *bytes, size_t n_bytes)
{
	const struct nlmsghdr *request = bytes;
	int n_left = (int)n_bytes;

	if (request->nlmsg_type != NFNL_MSG_BATCH_BEGIN) {
		bool dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;

		send_answers(socket, request);
		send_end(socket, request, dump ? NLMSG_DONE : NLMSG_ERROR);
		return;
	}
	for (; mnl_nlmsg_ok(request, n_left); request = mnl_nlmsg_next(request, &n_left))
		if (request->nlmsg_flags & NLM_F_ACK)
			send_end(socket, request, NLMSG_ERROR);
}

ssize_t sendto(int fd, const void *bytes, size_t n_bytes, int flags, const struct sockaddr *address,
	socklen_t n_address)
{
	if (address && address->sa_family == AF_NETLINK) {
		serve(socket_find(fd), bytes, n_bytes);
		return (ssize_t)n_bytes;
	}
	if (address) {
		errno = ENOENT;
		return -1;
	}
	return syscall(SYS_sendto, fd, bytes, n_bytes, flags, address, n_address);
}

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	struct mnl_socket *opened = calloc(1, sizeof(*opened));
	int fds[2];

	(void)bus;
	CHECK(opened);
	/* As a netlink socket, it keeps messages apart. */
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | flags, 0, fds) == 0);
	opened->fd = fds[0];
	opened->kernel_fd = fds[1];
	for (uint32_t i = 0; i < SOCKETS_MAX; i++) {
		if (sockets[i])
			continue;
		opened->port = 1000 + i;
		return sockets[i] = opened;
	}
	abort();
}

int mnl_socket_bind(struct mnl_socket *socket, unsigned groups, pid_t port)
{
	(void)socket, (void)groups, (void)port;
	return 0;
}

int mnl_socket_get_fd(const struct mnl_socket *socket)
{
	return socket->fd;
}

unsigned mnl_socket_get_portid(const struct mnl_socket *socket)
{
	return socket->port;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *bytes, size_t n_bytes)
{
	serve(socket, bytes, n_bytes);
	return (ssize_t)n_bytes;
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *socket, void *buffer, size_t n_bytes)
{
	ssize_t n = recv(socket->fd, buffer, n_bytes, MSG_TRUNC);

	if (n > (ssize_t)n_bytes) {
		errno = ENOSPC;
		return -1;
	}
	return n;
}

int mnl_socket_setsockopt(
	const struct mnl_socket *socket, int option, void *value, socklen_t n_value)
{
	(void)socket, (void)option, (void)value, (void)n_value;
	return 0;
}

int mnl_socket_close(struct mnl_socket *socket)
{
	for (size_t i = 0; i < SOCKETS_MAX; i++)
		if (sockets[i] == socket)
			sockets[i] = NULL;
	close(socket->fd);
	close(socket->kernel_fd);
	free(socket);
	return 0;
}

/* Where libnftnl's exit() leads to while it parses. */
static jmp_buf parse_failed;
static bool is_parsing, may_have_values;

/* What libnftnl has allocated while it parsed, and nobody has freed. */
static const volatile void *parsed[PARSED_MAX];
static size_t n_parsed;

NOT_COVERED static void on_malloc(const volatile void *memory, size_t n_bytes)
{
	(void)n_bytes;
	if (is_parsing && n_parsed < PARSED_MAX)
		parsed[n_parsed++] = memory;
}

NOT_COVERED static void on_free(const volatile void *memory)
{
	for (size_t i = n_parsed; i > 0; i--)
		if (parsed[i - 1] == memory) {
			parsed[i - 1] = parsed[--n_parsed];
			return;
		}
}

void kernel_forget(void)
{
	while (n_parsed > 0)
		free((void *)(uintptr_t)parsed[--n_parsed]);
}

void exit(int status)
{
	void (*real)(int status) __attribute__((noreturn)) = dlsym(RTLD_NEXT, "exit");

	if (is_parsing)
		longjmp(parse_failed, 1);
	real(status);
}

/* libnftnl asks for the name of an expression without looking whether it has one. */
const char *mnl_attr_get_str(const struct nlattr *attribute)
{
	if (!attribute && is_parsing)
		longjmp(parse_failed, 1);
	return mnl_attr_get_payload(attribute);
}

/* libmnl asks too, to walk through nested attributes. */
static bool is_libmnl(const void *caller)
{
	Dl_info info;

	return dladdr(caller, &info) != 0 && strstr(info.dli_fname, "libmnl");
}

/* It copies a value (NFTA_DATA_VALUE) of an expression without asking whether it fits. */
uint16_t mnl_attr_get_payload_len(const struct nlattr *attribute)
{
	uint16_t n_bytes = (uint16_t)(attribute->nla_len - MNL_ATTR_HDRLEN);

	if (may_have_values && mnl_attr_get_type(attribute) == 1 && n_bytes > 64 &&
		!is_libmnl(__builtin_return_address(0)))
		longjmp(parse_failed, 1);
	return n_bytes;
}

#define PARSER(name, object_type, with_values) \
	int name(const struct nlmsghdr *message, struct object_type *object) \
	{ \
		int (*real)(const struct nlmsghdr *, struct object_type *) = \
			dlsym(RTLD_NEXT, #name); \
		volatile int r = -1; \
\
		__lsan_disable(); \
		is_parsing = true; \
		may_have_values = with_values; \
		if (setjmp(parse_failed) == 0) \
			r = real(message, object); \
		is_parsing = may_have_values = false; \
		__lsan_enable(); \
		return r; \
	}

PARSER(nftnl_table_nlmsg_parse, nftnl_table, false)
PARSER(nftnl_chain_nlmsg_parse, nftnl_chain, false)
PARSER(nftnl_rule_nlmsg_parse, nftnl_rule, true)
PARSER(nftnl_set_nlmsg_parse, nftnl_set, true)
PARSER(nftnl_set_elems_nlmsg_parse, nftnl_set, true)
PARSER(nftnl_obj_nlmsg_parse, nftnl_obj, false)
