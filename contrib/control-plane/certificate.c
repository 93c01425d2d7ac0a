/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "cleanup.h"
#include "contrib/control-plane/certificate.h"

DEFINE_CLEANUP(BIO *, BIO_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)

/* Nobody is there to ask. */
static int on_passphrase(char *buffer, int n_bytes, int is_writing, void *userdata)
{
	(void)buffer, (void)n_bytes, (void)is_writing, (void)userdata;
	return -1;
}

static int check(const char *certificate, const char *key)
{
	_cleanup_(BIO_freep) BIO *certificate_text = BIO_new_mem_buf(certificate, -1);
	_cleanup_(BIO_freep) BIO *key_text = BIO_new_mem_buf(key, -1);
	_cleanup_(X509_freep) X509 *read_certificate = NULL;
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *read_key = NULL;

	if (!certificate_text || !key_text)
		return -ENOMEM;
	read_certificate = PEM_read_bio_X509(certificate_text, NULL, on_passphrase, NULL);
	if (!read_certificate)
		return CERTIFICATE_FAULT_CERTIFICATE;
	read_key = PEM_read_bio_PrivateKey(key_text, NULL, on_passphrase, NULL);
	if (!read_key)
		return CERTIFICATE_FAULT_KEY;
	return X509_check_private_key(read_certificate, read_key) == 1 ? 0 : CERTIFICATE_FAULT_PAIR;
}

int certificate_check(const char *certificate, const char *key)
{
	int r = check(certificate, key);

	ERR_clear_error();
	return r;
}
