/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Claims as JSON, without signature: a byte for the kind, then the text. */

#include <errno.h>

#include "agent/common/claims.h"
#include "agent/common/strictjson.h"
#include "tests/fuzz/documents.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum document_kind kind = take_byte(&data, &size) % 3;
	_cleanup_(freep) char *text = take_text(data, size);
	_cleanup_(document_freep) struct document *document = NULL;
	json_auto_t *claims = NULL;
	struct refusal refusal = {};
	char error[256] = "";
	int r;

	r = json_parse_object(text, size, &claims, error, sizeof(error));
	if (r != 0) {
		CHECK(r == -EINVAL && *error);
		return 0;
	}
	r = document_from_claims(kind, claims, &document, &refusal);
	if (r != 0) {
		CHECK(r == REFUSED && !document);
		check_refusal(&refusal);
		return 0;
	}
	check_document(document);
	check_stable(document);
	if (!document_audience_matches(claims, "vm")) {
		CHECK(claims_refuse_audience(claims, "vm", &refusal) == REFUSED);
		check_refusal(&refusal);
	}
	return 0;
}
