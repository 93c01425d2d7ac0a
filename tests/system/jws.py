# SPDX-License-Identifier: GPL-3.0-or-later
"""Compact JWS (RFC 7515) with ES256, of a header and claims that are objects, or bytes as they are."""

import base64
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signing_input(header, claims):
    return ".".join(encode(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, claims))


def header_of(key, kind, /, **members):
    """Of a JWK; a member that is None is left out."""
    header = {"alg": "ES256", "kid": key["kid"], "typ": f"jit-{kind}+jwt", **members}
    return {key: value for key, value in header.items() if value is not None}


class Signer:
    """Signs with a private JWK of P-256."""

    def __init__(self, jwk):
        self._key = ec.derive_private_key(int.from_bytes(decode(jwk["d"]), "big"), ec.SECP256R1())

    def sign(self, header, claims):
        text = signing_input(header, claims)
        r, s = utils.decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
