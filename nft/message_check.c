/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 *   NFTA_SET_ELEM_LIST_ELEMENTS               NFTA_RULE_EXPRESSIONS
 *     NFTA_LIST_ELEM                            NFTA_LIST_ELEM
 *       NFTA_SET_ELEM_KEY, _KEY_END, _DATA        NFTA_EXPR_NAME, NFTA_EXPR_DATA
 *                                                   NFTA_CMP_DATA and others
 *         NFTA_DATA_VALUE                             NFTA_DATA_VALUE          the bytes
 *         NFTA_DATA_VERDICT                           NFTA_DATA_VERDICT
 */

#include <string.h>

#include <libmnl/libmnl.h>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "cleanup.h"
#include "nft/message_check.h"

/* Of an element's attributes, what libnftnl has room for, and what it is sure to leave alone. */
#define TYPE_KNOWN (NFTA_SET_ELEM_KEY_END + 1) /* NFTA_SET_ELEM_EXPRESSIONS, from 5.11 on */
#define TYPE_PASSED_OVER 18

/* Expressions that have values, and where. */
static const struct {
	const char *name;
	uint16_t attributes[3];
} with_values[] = {
	{ "immediate", { NFTA_IMMEDIATE_DATA } },
	{ "cmp", { NFTA_CMP_DATA } },
	{ "range", { NFTA_RANGE_FROM_DATA, NFTA_RANGE_TO_DATA } },
	{ "bitwise", { NFTA_BITWISE_MASK, NFTA_BITWISE_XOR, NFTA_BITWISE_DATA } },
};

static int check_content(const struct nlattr *attribute, void *userdata)
{
	uint16_t type = mnl_attr_get_type(attribute);
	bool *has_content = userdata;

	if (type == NFTA_DATA_VALUE && mnl_attr_get_payload_len(attribute) > NFT_DATA_VALUE_MAXLEN)
		return MNL_CB_ERROR;
	if (type == NFTA_DATA_VALUE || type == NFTA_DATA_VERDICT)
		*has_content = true;
	return MNL_CB_OK;
}

static int check_value(const struct nlattr *attribute)
{
	bool has_content = false;
	int status = mnl_attr_parse_nested(attribute, check_content, &has_content);

	return has_content ? status : MNL_CB_ERROR;
}

static int check_field(const struct nlattr *attribute, void *userdata)
{
	uint16_t type = mnl_attr_get_type(attribute);

	(void)userdata;
	if (type > TYPE_KNOWN && type <= TYPE_PASSED_OVER)
		return MNL_CB_ERROR;
	switch (type) {
	case NFTA_SET_ELEM_KEY:
	case NFTA_SET_ELEM_KEY_END:
	case NFTA_SET_ELEM_DATA:
		return check_value(attribute);
	}
	return MNL_CB_OK;
}

static int check_element(const struct nlattr *attribute, void *userdata)
{
	return mnl_attr_parse_nested(attribute, check_field, userdata);
}

static int check_elements(const struct nlattr *attribute, void *userdata)
{
	return mnl_attr_get_type(attribute) == NFTA_SET_ELEM_LIST_ELEMENTS
		? mnl_attr_parse_nested(attribute, check_element, userdata)
		: MNL_CB_OK;
}

bool elements_are_sound(const struct nlmsghdr *message)
{
	return mnl_attr_parse(message, sizeof(struct nfgenmsg), check_elements, NULL) == MNL_CB_OK;
}

struct expression {
	const char *name;
	const struct nlattr *data;
};

static int take_expression(const struct nlattr *attribute, void *userdata)
{
	struct expression *expression = userdata;

	switch (mnl_attr_get_type(attribute)) {
	case NFTA_EXPR_NAME:
		if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) < 0)
			return MNL_CB_ERROR;
		expression->name = mnl_attr_get_str(attribute);
		break;
	case NFTA_EXPR_DATA:
		expression->data = attribute;
		break;
	}
	return MNL_CB_OK;
}

/* userdata: the types of those that are values. */
static int check_argument(const struct nlattr *attribute, void *userdata)
{
	const uint16_t *attributes = userdata;

	for (size_t i = 0; i < N_ELEMENTS(with_values[0].attributes) && attributes[i]; i++)
		if (mnl_attr_get_type(attribute) == attributes[i])
			return check_value(attribute);
	return MNL_CB_OK;
}

static int check_expression(const struct nlattr *attribute, void *userdata)
{
	struct expression expression = {};

	(void)userdata;
	if (mnl_attr_parse_nested(attribute, take_expression, &expression) != MNL_CB_OK)
		return MNL_CB_ERROR;
	for (size_t i = 0; i < N_ELEMENTS(with_values) && expression.name && expression.data; i++)
		if (strcmp(expression.name, with_values[i].name) == 0)
			return mnl_attr_parse_nested(expression.data, check_argument,
				(void *)(uintptr_t)with_values[i].attributes);
	return MNL_CB_OK;
}

static int check_rule(const struct nlattr *attribute, void *userdata)
{
	return mnl_attr_get_type(attribute) == NFTA_RULE_EXPRESSIONS
		? mnl_attr_parse_nested(attribute, check_expression, userdata)
		: MNL_CB_OK;
}

bool rule_is_sound(const struct nlmsghdr *message)
{
	return mnl_attr_parse(message, sizeof(struct nfgenmsg), check_rule, NULL) == MNL_CB_OK;
}
