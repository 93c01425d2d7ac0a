/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/set.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "nft/message_check.h"
#include "nft/elements.h"

#define KEY_BYTES_MAX 40
#define FIELD_ALIGN 4

/*
 * Kernels count timeouts in jiffies, which are 10 ms at most (HZ=100). Before 6.12 less than one
 * became 0 (nf_msecs_to_jiffies64() in net/netfilter/nf_tables_api.c): an element without an end.
 */
#define TIMEOUT_MS_MIN 10

/* linux/netfilter/nf_tables.h, kernel 5.13: NFT_SET_ELEM_CATCHALL */
#define FLAG_CATCH_ALL 0x2

/* What a set can hold is bounded, so is what is read of it. */
#define ELEMENTS_MAX (1u << 20)

DEFINE_CLEANUP(struct nftnl_set *, nftnl_set_free)

enum gate_set element_grant_set(const struct element *element)
{
	bool ipv4 = element->sources.family == AF_INET;

	if (address_range_is_single(&element->sources))
		return ipv4 ? SET_GRANTS4 : SET_GRANTS6;
	return ipv4 ? SET_GRANT_RANGES4 : SET_GRANT_RANGES6;
}

bool elements_include(const struct element *elements, size_t n, enum gate_set set)
{
	for (size_t i = 0; i < n; i++)
		if (element_grant_set(&elements[i]) == set)
			return true;
	return false;
}

/* source address . protocol . port, each field in whole registers */
static size_t service_key(uint8_t key[static KEY_BYTES_MAX], uint8_t family,
	const struct address *address, uint8_t l4proto, uint16_t port)
{
	size_t n = address_bytes(family);
	const uint16_t port_be = htons(port);

	memset(key, 0, KEY_BYTES_MAX);
	memcpy(key, address->bytes, n);
	key[n] = l4proto;
	memcpy(key + n + FIELD_ALIGN, &port_be, sizeof(port_be));
	return n + 2 * FIELD_ALIGN;
}

/* remote address . remote port . local address . local port */
static size_t flow_key(uint8_t key[static KEY_BYTES_MAX], const struct flow *flow)
{
	size_t n = address_bytes(flow->family);
	const uint16_t remote_be = htons(flow->remote_port), local_be = htons(flow->local_port);

	memset(key, 0, KEY_BYTES_MAX);
	memcpy(key, flow->remote.bytes, n);
	memcpy(key + n, &remote_be, sizeof(remote_be));
	memcpy(key + n + FIELD_ALIGN, flow->local.bytes, n);
	memcpy(key + 2 * n + FIELD_ALIGN, &local_be, sizeof(local_be));
	return 2 * (n + FIELD_ALIGN);
}

/* Adds an element to a set object, which owns it; key_end and its like are for the caller. */
static struct nftnl_set_elem *set_add_key(struct nftnl_set *set, const void *key, size_t n_bytes)
{
	struct nftnl_set_elem *element = nftnl_set_elem_alloc();

	if (!element)
		return NULL;
	if (nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, key, n_bytes) < 0) {
		nftnl_set_elem_free(element);
		return NULL;
	}
	nftnl_set_elem_add(set, element);
	return element;
}

static void element_set_timeout(struct nftnl_set_elem *element, uint64_t timeout_ms)
{
	nftnl_set_elem_set_u64(element, NFTNL_SET_ELEM_TIMEOUT,
		timeout_ms < TIMEOUT_MS_MIN ? TIMEOUT_MS_MIN : timeout_ms);
}

static int element_add_comment(struct nftnl_set_elem *element, const char *comment)
{
	struct nftnl_udata_buf *userdata = nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN);
	int status = -ENOMEM;

	if (!userdata)
		return -ENOMEM;
	if (nftnl_udata_put_strz(userdata, NFTNL_UDATA_SET_ELEM_COMMENT, comment) &&
		nftnl_set_elem_set(element, NFTNL_SET_ELEM_USERDATA, nftnl_udata_buf_data(userdata),
			nftnl_udata_buf_len(userdata)) == 0)
		status = 0;
	nftnl_udata_buf_free(userdata);
	return status;
}

static int set_add_element(struct nftnl_set *set, const struct gate_set_definition *definition,
	const struct element *element, bool with_values)
{
	const struct address_range *sources = &element->sources;
	uint8_t key[KEY_BYTES_MAX];
	struct nftnl_set_elem *added;
	size_t n;

	n = service_key(
		key, sources->family, &sources->first, element->l4proto, element->ports.first);
	added = set_add_key(set, key, n);
	if (!added)
		return -ENOMEM;
	if (definition->flags & NFT_SET_INTERVAL) {
		n = service_key(key, sources->family, &sources->last, element->l4proto,
			element->ports.last);
		if (nftnl_set_elem_set(added, NFTNL_SET_ELEM_KEY_END, key, n) < 0)
			return -ENOMEM;
	}
	if (!with_values)
		return 0;
	if (element->timeout_ms)
		element_set_timeout(added, element->timeout_ms);
	return element->comment[0] ? element_add_comment(added, element->comment) : 0;
}

int elements_change(struct transaction *transaction, uint16_t type, enum gate_set id,
	const struct element *const *elements, size_t n)
{
	const struct gate_set_definition *definition = gate_set_definition(id);
	_cleanup_(nftnl_set_freep) struct nftnl_set *set = NULL;
	int status;

	if (n == 0)
		return 0;
	set = gate_set_reference(id);
	if (!set)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		status = set_add_element(set, definition, elements[i], type == NFT_MSG_NEWSETELEM);
		if (status < 0)
			return status;
	}
	return transaction_add_elements(transaction, type, set, n, definition->name);
}

/* An interval of single fields is two elements: where it begins, and where it no longer holds. */
static int set_add_port_range(struct nftnl_set *set, const struct port_range *range)
{
	const uint16_t first_be = htons(range->first), end_be = htons(range->last + 1);
	struct nftnl_set_elem *end;

	if (!set_add_key(set, &first_be, sizeof(first_be)))
		return -ENOMEM;
	if (range->last == UINT16_MAX)
		return 0;
	end = set_add_key(set, &end_be, sizeof(end_be));
	if (!end)
		return -ENOMEM;
	nftnl_set_elem_set_u32(end, NFTNL_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
	return 0;
}

int elements_change_ports(struct transaction *transaction, uint16_t type, enum gate_set id,
	const struct port_range *ranges, size_t n)
{
	_cleanup_(nftnl_set_freep) struct nftnl_set *set = NULL;
	int status;

	if (n == 0)
		return 0;
	set = gate_set_reference(id);
	if (!set)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		status = set_add_port_range(set, &ranges[i]);
		if (status < 0)
			return status;
	}
	return transaction_add_elements(
		transaction, type, set, 2 * n, gate_set_definition(id)->name);
}

int elements_change_flows(struct transaction *transaction, uint16_t type, enum gate_set id,
	const struct flow *flows, size_t n)
{
	_cleanup_(nftnl_set_freep) struct nftnl_set *set = NULL;
	uint8_t key[KEY_BYTES_MAX];

	if (n == 0)
		return 0;
	set = gate_set_reference(id);
	if (!set)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (!set_add_key(set, key, flow_key(key, &flows[i])))
			return -ENOMEM;
	return transaction_add_elements(transaction, type, set, n, gate_set_definition(id)->name);
}

int elements_add_trial(struct transaction *transaction, uint64_t timeout_ms)
{
	static const uint8_t families[] = { NFPROTO_IPV4, NFPROTO_IPV6 };
	_cleanup_(nftnl_set_freep) struct nftnl_set *set = gate_set_reference(SET_TRIAL);

	if (!set)
		return -ENOMEM;
	for (size_t i = 0; i < N_ELEMENTS(families); i++) {
		struct nftnl_set_elem *added = set_add_key(set, &families[i], sizeof(families[i]));

		if (!added)
			return -ENOMEM;
		element_set_timeout(added, timeout_ms);
	}
	return transaction_add_elements(transaction, NFT_MSG_NEWSETELEM, set, N_ELEMENTS(families),
		gate_set_definition(SET_TRIAL)->name);
}

int elements_flush(struct transaction *transaction, enum gate_set id)
{
	_cleanup_(nftnl_set_freep) struct nftnl_set *set = gate_set_reference(id);

	if (!set)
		return -ENOMEM;
	return transaction_add_elements(
		transaction, NFT_MSG_DELSETELEM, set, 0, gate_set_definition(id)->name);
}

/* Grows a list of any kind by one; returns the new last item or NULL. */
static void *list_append(void **items, size_t *n, size_t *n_allocated, size_t item_bytes)
{
	if (*n >= ELEMENTS_MAX)
		return NULL;
	if (*n == *n_allocated) {
		size_t want = *n_allocated ? 2 * *n_allocated : 16;
		void *grown = reallocarray(*items, want, item_bytes);

		if (!grown)
			return NULL;
		*items = grown;
		*n_allocated = want;
	}
	return memset((char *)*items + (*n)++ * item_bytes, 0, item_bytes);
}

#define LIST_APPEND(list, items) \
	((__typeof__((list)->items))list_append((void **)&(list)->items, &(list)->n, \
		&(list)->n_allocated, sizeof(*(list)->items)))

struct reader {
	enum gate_set set;
	int (*read)(struct nftnl_set_elem *element, struct reader *reader);
	struct element_list *elements;
	struct flow_list *flows;
	struct port_range_list *ports;
};

/* Bytes of a key or its end, whose length is the one that the set's definition says. */
static const uint8_t *element_key(
	struct nftnl_set_elem *element, uint16_t attribute, const struct reader *reader)
{
	const struct gate_set_definition *definition = gate_set_definition(reader->set);
	uint32_t n = 0;
	const uint8_t *key = nftnl_set_elem_get(element, attribute, &n);

	return key && n == gate_key_bytes(definition->key, address_bytes(definition->family))
		? key
		: NULL;
}

static uint16_t port_at(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static int on_counter(struct nftnl_expr *expression, void *userdata)
{
	uint64_t *n_packets = userdata;

	if (strcmp(nftnl_expr_get_str(expression, NFTNL_EXPR_NAME), "counter") == 0)
		*n_packets = nftnl_expr_get_u64(expression, NFTNL_EXPR_CTR_PACKETS);
	return 0;
}

static void element_read_comment(struct nftnl_set_elem *element, char comment[ELEMENT_COMMENT_MAX])
{
	uint32_t n = 0;
	const uint8_t *userdata = nftnl_set_elem_get(element, NFTNL_SET_ELEM_USERDATA, &n);

	/* type, length, text with its NUL (libnftnl/udata.h) */
	if (!userdata || n < 3 || userdata[0] != NFTNL_UDATA_SET_ELEM_COMMENT ||
		userdata[1] > n - 2 || userdata[1] == 0)
		return;
	snprintf(comment, ELEMENT_COMMENT_MAX, "%.*s", userdata[1] - 1, (const char *)userdata + 2);
}

/* Whether the kernel has the element under the keys by which it would be taken out again, in the
 * set where it would be looked for. */
static bool element_is_ours(
	const struct element *element, enum gate_set set, const uint8_t *first, const uint8_t *last)
{
	const struct address_range *sources = &element->sources;
	uint8_t key[KEY_BYTES_MAX];
	size_t n;

	if (set >= SET_GRANTS4 && set <= SET_GRANT_RANGES6 && element_grant_set(element) != set)
		return false;
	n = service_key(
		key, sources->family, &sources->first, element->l4proto, element->ports.first);
	if (memcmp(key, first, n) != 0)
		return false;
	n = service_key(
		key, sources->family, &sources->last, element->l4proto, element->ports.last);
	return memcmp(key, last, n) == 0;
}

static int read_service(struct nftnl_set_elem *element, struct reader *reader)
{
	uint8_t family = gate_set_definition(reader->set)->family;
	size_t n = address_bytes(family);
	const uint8_t *first = element_key(element, NFTNL_SET_ELEM_KEY, reader), *last = first;
	struct element *item;

	if (!first)
		return -EBADMSG;
	if (nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_KEY_END)) {
		last = element_key(element, NFTNL_SET_ELEM_KEY_END, reader);
		if (!last)
			return -EBADMSG;
	}
	item = LIST_APPEND(reader->elements, elements);
	if (!item)
		return -ENOMEM;
	item->sources.family = family;
	memcpy(item->sources.first.bytes, first, n);
	memcpy(item->sources.last.bytes, last, n);
	item->l4proto = first[n];
	item->ports.first = port_at(first + n + FIELD_ALIGN);
	item->ports.last = port_at(last + n + FIELD_ALIGN);
	if (!element_is_ours(item, reader->set, first, last)) {
		reader->elements->n--;
		reader->elements->foreign = true;
		return 0;
	}
	if (nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_EXPIRATION)) {
		item->timeout_ms = nftnl_set_elem_get_u64(element, NFTNL_SET_ELEM_EXPIRATION);
		if (item->timeout_ms == 0) /* over, and no permanent one */
			item->timeout_ms = 1;
	}
	element_read_comment(element, item->comment);
	nftnl_set_elem_expr_foreach(element, on_counter, &item->n_packets);
	return 0;
}

static int read_flow(struct nftnl_set_elem *element, struct reader *reader)
{
	uint8_t family = gate_set_definition(reader->set)->family;
	size_t n = address_bytes(family);
	const uint8_t *key = element_key(element, NFTNL_SET_ELEM_KEY, reader);
	struct flow *item;

	if (!key)
		return -EBADMSG;
	item = LIST_APPEND(reader->flows, flows);
	if (!item)
		return -ENOMEM;
	item->family = family;
	item->l4proto = reader->set == SET_SESSIONS4 || reader->set == SET_SESSIONS6 ? IPPROTO_TCP
										     : IPPROTO_UDP;
	memcpy(item->remote.bytes, key, n);
	item->remote_port = port_at(key + n);
	memcpy(item->local.bytes, key + n + FIELD_ALIGN, n);
	item->local_port = port_at(key + 2 * n + FIELD_ALIGN);
	return 0;
}

static int read_port(struct nftnl_set_elem *element, struct reader *reader)
{
	const uint8_t *key = element_key(element, NFTNL_SET_ELEM_KEY, reader);
	bool is_end = nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_FLAGS) &&
		(nftnl_set_elem_get_u32(element, NFTNL_SET_ELEM_FLAGS) & NFT_SET_ELEM_INTERVAL_END);
	struct port_range *item;

	if (!key)
		return -EBADMSG;
	/* Only where intervals begin and end: elements_read_ports() makes ranges of them. */
	item = LIST_APPEND(reader->ports, ranges);
	if (!item)
		return -ENOMEM;
	item->first = port_at(key);
	item->last = is_end;
	return 0;
}

static int on_element(struct nftnl_set_elem *element, void *userdata)
{
	struct reader *reader = userdata;
	int status = 0;

	/* What stands for every key has none: ruleset_read() looks for it. */
	if (nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_KEY))
		status = reader->read(element, reader);
	if (status < 0) {
		errno = -status;
		return -1;
	}
	return 0;
}

static int on_elements(const struct nlmsghdr *message, void *userdata)
{
	_cleanup_(nftnl_set_freep) struct nftnl_set *set = nftnl_set_alloc();

	if (!set)
		return MNL_CB_ERROR;
	if (!elements_are_sound(message) || nftnl_set_elems_nlmsg_parse(message, set) < 0)
		return MNL_CB_ERROR;
	return nftnl_set_elem_foreach(set, on_element, userdata) < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int elements_dump(struct netlink *netlink, struct reader *reader, size_t *n)
{
	_cleanup_(nftnl_set_freep) struct nftnl_set *set = gate_set_reference(reader->set);
	char buffer[512];
	size_t n_before = *n;
	int status = -EINTR;

	if (!set)
		return -ENOMEM;
	for (int i = 0; i < NETLINK_TRIES && status == -EINTR; i++) {
		struct nlmsghdr *request = nftnl_nlmsg_build_hdr(
			buffer, NFT_MSG_GETSETELEM, NFPROTO_INET, NLM_F_DUMP, 0);

		nftnl_set_elems_nlmsg_build_payload(request, set);
		*n = n_before;
		status = netlink_request(netlink, request, on_elements, reader);
	}
	return status;
}

int elements_read(struct netlink *netlink, enum gate_set set, struct element_list *list)
{
	struct reader reader = { .set = set, .read = read_service, .elements = list };

	return elements_dump(netlink, &reader, &list->n);
}

int elements_read_flows(struct netlink *netlink, enum gate_set set, struct flow_list *list)
{
	struct reader reader = { .set = set, .read = read_flow, .flows = list };

	return elements_dump(netlink, &reader, &list->n);
}

/* By port; where an interval begins at the port where another ends, the end comes first. */
static int compare_bounds(const void *a, const void *b)
{
	const struct port_range *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return (int)y->last - (int)x->last;
}

/* Asks for the set object's element. */
static int elements_get(struct netlink *netlink, struct nftnl_set *set)
{
	char buffer[512];
	struct nlmsghdr *request =
		nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM, NFPROTO_INET, NLM_F_ACK, 0);

	nftnl_set_elems_nlmsg_build_payload(request, set);
	return netlink_request(netlink, request, NULL, NULL);
}

int elements_find_flow(struct netlink *netlink, enum gate_set id, const struct flow *flow)
{
	_cleanup_(nftnl_set_freep) struct nftnl_set *set = gate_set_reference(id);
	uint8_t key[KEY_BYTES_MAX];

	if (!set || !set_add_key(set, key, flow_key(key, flow)))
		return -ENOMEM;
	return elements_get(netlink, set);
}

int elements_find_catch_all(struct netlink *netlink, enum gate_set id)
{
	_cleanup_(nftnl_set_freep) struct nftnl_set *set = gate_set_reference(id);
	struct nftnl_set_elem *element = set ? nftnl_set_elem_alloc() : NULL;
	int status;

	if (!element)
		return -ENOMEM;
	nftnl_set_elem_set_u32(element, NFTNL_SET_ELEM_FLAGS, FLAG_CATCH_ALL);
	nftnl_set_elem_add(set, element);
	status = elements_get(netlink, set);
	/* Kernels before 5.13 have none, and refuse the question for its want of a key. */
	return status == -EINVAL ? -ENOENT : status;
}

int elements_read_ports(struct netlink *netlink, enum gate_set set, struct port_range_list *list)
{
	_cleanup_(port_range_list_done) struct port_range_list bounds = {};
	struct reader reader = { .set = set, .read = read_port, .ports = &bounds };
	struct port_range *range;
	int status;

	status = elements_dump(netlink, &reader, &bounds.n);
	if (status < 0)
		return status;
	if (bounds.n > 0)
		qsort(bounds.ranges, bounds.n, sizeof(*bounds.ranges), compare_bounds);
	for (size_t i = 0; i < bounds.n; i++) {
		bool has_end = i + 1 < bounds.n;

		if (bounds.ranges[i]
				.last) /* an end without a beginning: the kernel adds one at 0 */
			continue;
		if (has_end && bounds.ranges[i + 1].first == bounds.ranges[i].first)
			return -EBADMSG;
		range = LIST_APPEND(list, ranges);
		if (!range)
			return -ENOMEM;
		range->first = bounds.ranges[i].first;
		range->last = has_end ? bounds.ranges[i + 1].first - 1 : UINT16_MAX;
	}
	return 0;
}

int flow_list_add(struct flow_list *list, const struct flow *flow)
{
	struct flow *item = LIST_APPEND(list, flows);

	if (!item)
		return -ENOMEM;
	*item = *flow;
	return 0;
}

void element_list_done(struct element_list *list)
{
	free(list->elements);
	memset(list, 0, sizeof(*list));
}

void flow_list_done(struct flow_list *list)
{
	free(list->flows);
	memset(list, 0, sizeof(*list));
}

void port_range_list_done(struct port_range_list *list)
{
	free(list->ranges);
	memset(list, 0, sizeof(*list));
}
