# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that `jitgate sign` does not make: any bytes, signed as ES256 or as an attacker would."""

import hashlib
import hmac
import json
import math
import time
import uuid

from agent import VM_ID, lasting, port_claim
from jws import Signer, decode, encode, header_of, signing_input

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def grant_claims(port="22/tcp", source="192.0.2.7", seconds=600, **claims):
    now = int(time.time())
    return {"iss": "forge", "aud": VM_ID, "jti": str(uuid.uuid4()), "sub": "mallory", "iat": now,
            "exp": now + math.ceil(lasting(seconds)), "ports": [port_claim(port, source)], **claims}


def revocation_claims(*ids, **claims):
    return {"iss": "forge", "aud": VM_ID, "jti": str(uuid.uuid4()), "iat": int(time.time()),
            "revokes": list(ids), **claims}


class Forge:
    """Signs with a private JWK of P-256, fast and without asking whether it makes sense."""

    def __init__(self, path):
        self.jwk = json.loads(path.read_text())
        self._signer = Signer(self.jwk)

    def header(self, kind="grant", **members):
        return header_of(self.jwk, kind, **members)

    def sign(self, claims, header=None):
        """header and claims are objects, or bytes as they are."""
        return self._signer.sign(header or self.header(), claims)

    def revocation(self, *ids, **claims):
        return self.sign(revocation_claims(*ids, **claims), self.header("revocation"))


def hmac_sign(secret, claims, header):
    text = signing_input(header, claims)
    return f"{text}.{encode(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def twin(document):
    """The same document with the other signature that is valid too: r, n - s. Anyone can make it."""
    text, signature = document.rsplit(".", 1)
    raw = decode(signature)
    s = P256_ORDER - int.from_bytes(raw[32:], "big")
    return f"{text}.{encode(raw[:32] + s.to_bytes(32, 'big'))}"
