# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for TLS: an authority of the tests' own, and what it issues."""

import datetime
import ipaddress
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(directory, name, certificate, key):
    """Writes name.pem and name.key; returns their paths."""
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                               serialization.NoEncryption())
    (directory / f"{name}.pem").write_bytes(pem)
    (directory / f"{name}.key").write_bytes(secret)
    return directory / f"{name}.pem", directory / f"{name}.key"


class Authority:
    """Signs certificates; `path` is its own."""

    def __init__(self, directory, name="authority"):
        self.directory, self.name = directory, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._build(name, self.key, is_authority=True)
        self.path, _ = _pem(directory, name, self.certificate, self.key)

    def _build(self, subject, key, names=(), begin=-1, end=30, is_authority=False):
        now = datetime.datetime.utcnow()
        builder = (x509.CertificateBuilder().subject_name(_name(subject))
                   .issuer_name(_name(self.name)).public_key(key.public_key())
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(now + begin * DAY).not_valid_after(now + end * DAY)
                   .add_extension(x509.BasicConstraints(is_authority, None), critical=True))
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name, *names, begin=-1, end=30):
        """A certificate for these names; valid from day begin to day end from now. Two paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        return _pem(self.directory, name, self._build(name, key, names, begin, end), key)

    def issue_file(self, *names, **days):
        """The same in one file, key and certificate, for names of which the first is its own."""
        certificate, key = self.issue(f"{names[0]}-{uuid.uuid4()}", *names, **days)
        path = certificate.with_suffix(".both")
        path.write_bytes(key.read_bytes() + certificate.read_bytes())
        return path


def make(directory):
    """Files for a server on loopback: (certificate, key, CA)."""
    authority = Authority(directory, "ca")
    certificate, key = authority.issue("server", "localhost", "127.0.0.1", "::1")
    key.chmod(0o600)
    return str(certificate), str(key), str(authority.path)
