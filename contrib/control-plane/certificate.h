/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Whether a certificate and a key serve together, before libmicrohttpd fails without a reason. */

enum certificate_fault {
	CERTIFICATE_FAULT_CERTIFICATE = 1, /* there is none in the text */
	CERTIFICATE_FAULT_KEY, /* so here, or it takes a passphrase */
	CERTIFICATE_FAULT_PAIR, /* the key is another's */
};

/* certificate: PEM, the server's own first; key: PEM. Returns 0; what is wrong; -ENOMEM. */
int certificate_check(const char *certificate, const char *key);
