# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that `jitgate sign` does not make: any bytes, signed as ES256 or as an attacker would."""

import base64
import hashlib
import hmac
import json
import math
import time
import uuid

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from agent import VM_ID, lasting, port_claim

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def as_bytes(value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


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
        self._key = ec.derive_private_key(
            int.from_bytes(decode(self.jwk["d"]), "big"), ec.SECP256R1())

    def header(self, kind="grant", **members):
        header = {"alg": "ES256", "kid": self.jwk["kid"], "typ": f"jit-{kind}+jwt", **members}
        return {key: value for key, value in header.items() if value is not None}

    def sign(self, claims, header=None):
        """header and claims are objects, or bytes as they are."""
        text = encode(as_bytes(header or self.header())) + "." + encode(as_bytes(claims))
        r, s = utils.decode_dss_signature(
            self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def revocation(self, *ids, **claims):
        return self.sign(revocation_claims(*ids, **claims), self.header("revocation"))


def hmac_sign(secret, claims, header):
    text = encode(as_bytes(header)) + "." + encode(as_bytes(claims))
    return f"{text}.{encode(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def twin(document):
    """The same document with the other signature that is valid too: r, n - s. Anyone can make it."""
    text, signature = document.rsplit(".", 1)
    raw = decode(signature)
    s = P256_ORDER - int.from_bytes(raw[32:], "big")
    return f"{text}.{encode(raw[:32] + s.to_bytes(32, 'big'))}"
