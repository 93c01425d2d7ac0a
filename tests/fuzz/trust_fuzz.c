/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The trust file. */

#include <errno.h>

#include "agent/common/times.h"
#include "agent/common/trust.h"
#include "tests/fuzz/fuzz.h"

static json_t *key_write(const struct trust_key *key)
{
	json_t *jwk = json_deep_copy(key->jwk), *ports = json_array();
	char text[TIME_STRING_MAX];

	for (size_t i = 0; i < key->n_ports; i++)
		json_array_append_new(ports,
			json_sprintf("%u-%u/%s", key->ports[i].ports.first,
				key->ports[i].ports.last,
				protocol_format(key->ports[i].protocols)));
	if (key->narrowed_ports)
		json_object_set(jwk, "jit_ports", ports);
	json_decref(ports);
	if (key->max_duration)
		json_object_set_new(jwk, "jit_max_duration",
			json_string(duration_format(key->max_duration, text)));
	return jwk;
}

static void check_key(const struct trust *trust, const struct trust_key *key)
{
	CHECK(trust_find(trust, key->kid) == key);
	CHECK(*key->kid && strlen(key->kid) <= TRUST_KID_MAX && text_is_printable(key->kid));
	CHECK(algorithm_is_supported(key->alg));
	CHECK(key->n_ports <= TRUST_KEY_PORTS_MAX);
	CHECK(key->max_duration >= 0 && key->max_duration <= DURATION_SECONDS_MAX);
	CHECK(!json_object_get(key->jwk, "d") && !json_object_get(key->jwk, "k"));
}

static char *trust_write(const struct trust *trust)
{
	json_t *keys = json_array();
	json_auto_t *set = json_pack("{s:o}", "keys", keys);

	for (size_t i = 0; i < trust->n_keys; i++) {
		check_key(trust, &trust->keys[i]);
		json_array_append_new(keys, key_write(&trust->keys[i]));
	}
	return json_dumps(set, JSON_COMPACT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = take_text(data, size), *error = NULL, *first = NULL,
			      *second = NULL;
	_cleanup_(trust_freep) struct trust *trust = NULL, *again = NULL;
	int r = trust_parse(text, size, "trust.jwks", &trust, &error);

	if (r != 0) {
		CHECK(r == -EINVAL || r == -EFBIG);
		check_message(error);
		return 0;
	}
	CHECK(!error && trust->n_keys <= TRUST_KEYS_MAX);
	first = trust_write(trust);
	CHECK(trust_parse(first, strlen(first), "again", &again, &error) == 0);
	second = trust_write(again);
	check_same_text(first, second);
	return 0;
}
