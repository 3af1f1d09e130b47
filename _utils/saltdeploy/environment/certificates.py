"""A certificate authority for one environment's Consul, and the certificates of its nodes."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from typing import TypedDict

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE, NODE_LIFE = datetime.timedelta(days=3650), datetime.timedelta(days=365)
# The clocks of nodes differ a little.
BACKDATED = datetime.timedelta(hours=1)


class Pair(TypedDict):
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str


def authority(name: str, now: datetime.datetime) -> Pair:
    """Return a new certificate authority.

    :param now: the time in UTC.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = (
        _builder(subject, subject, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True, digital_signature=True), critical=True)
    )
    return _pem(builder.sign(key, hashes.SHA256()), key)


def issue(issuer: Pair, names: Sequence[str], addresses: Sequence[str], now: datetime.datetime) -> Pair:
    """Return a node's new certificate, as server and client, with its key, signed by the authority ``issuer``.

    :param names: DNS names. The first is its common name.
    :param addresses: IP addresses.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    ca = x509.load_pem_x509_certificate(issuer["certificate"].encode())
    ca_key = serialization.load_pem_private_key(issuer["key"].encode(), password=None)
    known = [x509.DNSName(n) for n in names] + [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
    builder = (
        _builder(_name(names[0]), ca.subject, key, now, NODE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(known), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    return _pem(builder.sign(ca_key, hashes.SHA256()), key)


def usable(certificate: str, names: Sequence[str], addresses: Sequence[str], now: datetime.datetime) -> bool:
    """Return whether a certificate (PEM) is for exactly these names and addresses, and has a third of its life left."""
    found = x509.load_pem_x509_certificate(certificate.encode())
    known = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    same = set(known.get_values_for_type(x509.DNSName)) == set(names) and {
        str(a) for a in known.get_values_for_type(x509.IPAddress)
    } == set(addresses)
    return same and _end(found) - now > NODE_LIFE / 3


def _end(certificate: x509.Certificate) -> datetime.datetime:
    # Before cryptography 42 there is only the attribute without a time zone.
    end = getattr(certificate, "not_valid_after_utc", None)
    return end or certificate.not_valid_after.replace(tzinfo=datetime.timezone.utc)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    life: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(**chosen: bool) -> x509.KeyUsage:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
        " key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: chosen.get(name, False) for name in every.split()})


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {"certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(), "key": private.decode()}
