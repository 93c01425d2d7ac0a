/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 *   NFTA_SET_ELEM_LIST_ELEMENTS
 *     NFTA_LIST_ELEM
 *       NFTA_SET_ELEM_KEY, _KEY_END, _DATA
 *         NFTA_DATA_VALUE                       the bytes
 */

#include <libmnl/libmnl.h>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "nft/element_check.h"

/* Of an element's attributes, what libnftnl has room for, and what it is sure to leave alone. */
#define TYPE_KNOWN (NFTA_SET_ELEM_KEY_END + 1) /* NFTA_SET_ELEM_EXPRESSIONS, from 5.11 on */
#define TYPE_PASSED_OVER 18

static int check_value(const struct nlattr *attribute, void *userdata)
{
	(void)userdata;
	return mnl_attr_get_type(attribute) == NFTA_DATA_VALUE &&
			mnl_attr_get_payload_len(attribute) > NFT_DATA_VALUE_MAXLEN
		? MNL_CB_ERROR
		: MNL_CB_OK;
}

static int check_field(const struct nlattr *attribute, void *userdata)
{
	uint16_t type = mnl_attr_get_type(attribute);

	if (type > TYPE_KNOWN && type <= TYPE_PASSED_OVER)
		return MNL_CB_ERROR;
	switch (type) {
	case NFTA_SET_ELEM_KEY:
	case NFTA_SET_ELEM_KEY_END:
	case NFTA_SET_ELEM_DATA:
		return mnl_attr_parse_nested(attribute, check_value, userdata);
	}
	return MNL_CB_OK;
}

static int check_element(const struct nlattr *attribute, void *userdata)
{
	return mnl_attr_parse_nested(attribute, check_field, userdata);
}

static int check_list(const struct nlattr *attribute, void *userdata)
{
	return mnl_attr_get_type(attribute) == NFTA_SET_ELEM_LIST_ELEMENTS
		? mnl_attr_parse_nested(attribute, check_element, userdata)
		: MNL_CB_OK;
}

bool elements_are_sound(const struct nlmsghdr *message)
{
	return mnl_attr_parse(message, sizeof(struct nfgenmsg), check_list, NULL) == MNL_CB_OK;
}
