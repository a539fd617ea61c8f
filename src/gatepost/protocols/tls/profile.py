"""TLS profiles: versions, groups, suites and signature schemes in order of preference, under four names.

The same records make the contexts of `net.engine` and the list that `gatepost tls profiles` publishes, so the list
cannot drift from what is spoken. Never imports a TLS library: lists are text in OpenSSL's syntax.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from gatepost.values import replace

VERSIONS: Final = ("TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")
"""Names of the protocol versions, weakest first, as `TlsFacts.version` and `Profile` write them."""

DH_PARAMETERS: Final = b"""\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""ffdhe2048 of RFC 7919, as PEM: a server's part of the suites with DHE."""


class Profile(msgspec.Struct, frozen=True):
    """One set of limits for both sides of a handshake.

    min_version, max_version: out of `VERSIONS`. groups: OpenSSL's group list, "/" parts tuples of falling preference,
    "*" marks the groups that a client sends key shares for. suites12, suites13: OpenSSL names joined by ":", in our
    order. signature_algorithms: IANA names joined by ":", in our order. security_level: OpenSSL's, 2 = 112 bits, 0 =
    anything.
    """

    name: str
    min_version: str
    max_version: str
    groups: str
    suites12: str
    suites13: str
    signature_algorithms: str
    security_level: int


class PublishedSuite(msgspec.Struct, frozen=True):
    """One row of the published list, in Microsoft's columns (exchange.md section 8.2).

    version: the oldest version of the profile that can carry the suite. A figure behind a "/" is a strength: bits of
    security for key exchange and authentication, bits of key for the cipher.
    """

    name: str
    openssl: str
    key_exchange: str
    forward_secrecy: bool
    cipher: str
    authentication: str
    version: str


_TLS13 = (
    ("TLS_AES_256_GCM_SHA384", "AES/256"),
    ("TLS_CHACHA20_POLY1305_SHA256", "CHACHA20/256"),
    ("TLS_AES_128_GCM_SHA256", "AES/128"),
)

# OpenSSL's name, IANA's name, key exchange, cipher, oldest version. AEAD first, then CBC, each in Microsoft's order.
_FORWARD_SECRET = (
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDH/192", "AES/256", "TLSv1.2"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDH/192", "AES/256", "TLSv1.2"),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDH/128",
        "CHACHA20/256",
        "TLSv1.2",
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDH/128",
        "CHACHA20/256",
        "TLSv1.2",
    ),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDH/128", "AES/128", "TLSv1.2"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDH/128", "AES/128", "TLSv1.2"),
    ("ECDHE-ECDSA-AES256-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384", "ECDH/192", "AES/256", "TLSv1.2"),
    ("ECDHE-RSA-AES256-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", "ECDH/192", "AES/256", "TLSv1.2"),
    ("ECDHE-ECDSA-AES128-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDH/128", "AES/128", "TLSv1.2"),
    ("ECDHE-RSA-AES128-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDH/128", "AES/128", "TLSv1.2"),
    ("ECDHE-ECDSA-AES256-SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDH/192", "AES/256", "TLSv1.0"),
    ("ECDHE-RSA-AES256-SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDH/192", "AES/256", "TLSv1.0"),
    ("ECDHE-ECDSA-AES128-SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDH/128", "AES/128", "TLSv1.0"),
    ("ECDHE-RSA-AES128-SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDH/128", "AES/128", "TLSv1.0"),
)
_AEAD, _CBC = _FORWARD_SECRET[:6], _FORWARD_SECRET[6:]
# For peers without elliptic curves. The groups are those of RFC 7919, or what the server names, of 2048 bits or more.
_FINITE_FIELD = (
    ("DHE-RSA-AES256-GCM-SHA384", "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "DH/112", "AES/256", "TLSv1.2"),
    ("DHE-RSA-CHACHA20-POLY1305", "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "DH/112", "CHACHA20/256", "TLSv1.2"),
    ("DHE-RSA-AES128-GCM-SHA256", "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", "DH/112", "AES/128", "TLSv1.2"),
)
_FINITE_FIELD_CBC = (
    ("DHE-RSA-AES256-SHA256", "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", "DH/112", "AES/256", "TLSv1.2"),
    ("DHE-RSA-AES128-SHA256", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256", "DH/112", "AES/128", "TLSv1.2"),
    ("DHE-RSA-AES256-SHA", "TLS_DHE_RSA_WITH_AES_256_CBC_SHA", "DH/112", "AES/256", "TLSv1.0"),
    ("DHE-RSA-AES128-SHA", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA", "DH/112", "AES/128", "TLSv1.0"),
)
# Microsoft's table says AES/256 for the second of these: a slip of theirs that is not copied.
_STATIC_RSA = (
    ("AES256-GCM-SHA384", "TLS_RSA_WITH_AES_256_GCM_SHA384", "RSA/112", "AES/256", "TLSv1.2"),
    ("AES128-GCM-SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256", "RSA/112", "AES/128", "TLSv1.2"),
)
_STATIC_RSA_CBC = (
    ("AES256-SHA256", "TLS_RSA_WITH_AES_256_CBC_SHA256", "RSA/112", "AES/256", "TLSv1.2"),
    ("AES128-SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA256", "RSA/112", "AES/128", "TLSv1.2"),
    ("AES256-SHA", "TLS_RSA_WITH_AES_256_CBC_SHA", "RSA/112", "AES/256", "TLSv1.0"),
    ("AES128-SHA", "TLS_RSA_WITH_AES_128_CBC_SHA", "RSA/112", "AES/128", "TLSv1.0"),
)
_ROWS: Final = {
    row[0]: row for row in (*_FORWARD_SECRET, *_FINITE_FIELD, *_FINITE_FIELD_CBC, *_STATIC_RSA, *_STATIC_RSA_CBC)
}

# In TLS 1.2 an ECDSA certificate needs its own curve in the list (RFC 8422 section 5.3).
_CLASSICAL = "?*X25519:?P-256:?P-384:?P-521"
# Two tuples: a client that knows the hybrid but sent only an X25519 share is asked for it (one more round trip);
# clients that sent both shares, or know no hybrid, pay nothing. The question marks let a library without a group
# start all the same.
_GROUPS = f"?*X25519MLKEM768 / {_CLASSICAL}"

_SCHEMES = (
    "ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:ed25519:ed448"
    ":rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512"
    ":rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512"
    ":rsa_pkcs1_sha256:rsa_pkcs1_sha384:rsa_pkcs1_sha512"
)
_SCHEMES_OLD = _SCHEMES + ":ecdsa_sha1:rsa_pkcs1_sha1"


def _names(*tables: tuple[tuple[str, str, str, str, str], ...]) -> str:
    return ":".join(row[0] for table in tables for row in table)


_SUITES13 = ":".join(name for name, _ in _TLS13)

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            # TLS 1.2 suites are never negotiated here; the list is set all the same so that no library default stands.
            Profile("modern", "TLSv1.3", "TLSv1.3", _GROUPS, _names(_AEAD), _SUITES13, _SCHEMES, 2),
            Profile("default", "TLSv1.2", "TLSv1.3", _GROUPS, _names(_FORWARD_SECRET), _SUITES13, _SCHEMES, 2),
            Profile(
                "compatible",
                "TLSv1.2",
                "TLSv1.3",
                _GROUPS,
                _names(_AEAD, _FINITE_FIELD, _CBC, _STATIC_RSA),
                _SUITES13,
                _SCHEMES,
                2,
            ),
            Profile(
                "legacy",
                "TLSv1.0",
                "TLSv1.3",
                _GROUPS,
                _names(_AEAD, _FINITE_FIELD, _CBC, _FINITE_FIELD_CBC, _STATIC_RSA, _STATIC_RSA_CBC),
                _SUITES13,
                _SCHEMES_OLD,
                0,
            ),
        )
    }
)
"""The profiles by name, strictest first. `legacy` is for connectors that name it and for nothing else."""

_GROUP_NAMES: Final = {
    "x25519": "X25519",
    "x448": "X448",
    "secp256r1": "P-256",
    "prime256v1": "P-256",
    "secp384r1": "P-384",
    "secp521r1": "P-521",
}


def published(profile: Profile) -> list[PublishedSuite]:
    """Every suite that the profile can negotiate, in our order: the list that S15 of exchange.md asks us to publish."""
    rows: list[PublishedSuite] = []
    if profile.max_version == "TLSv1.3":
        exchange = "ECDH+MLKEM/192" if "MLKEM" in profile.groups else "ECDH/128"
        rows += (
            PublishedSuite(name, name, exchange, True, cipher, "ECDSA/128, RSA/112", "TLSv1.3")
            for name, cipher in _TLS13
            if name in profile.suites13.split(":")
        )
    if profile.min_version != "TLSv1.3":
        rows += (_row(_ROWS[name], profile) for name in profile.suites12.split(":"))
    return rows


def profile_record(profile: Profile) -> dict[str, object]:
    """The profile with its list for machines. The keys do not change."""
    return {
        "profile": profile.name,
        "min_version": profile.min_version,
        "max_version": profile.max_version,
        "groups": profile.groups,
        "suites": [
            {
                "name": suite.name,
                "key_exchange": suite.key_exchange,
                "forward_secrecy": suite.forward_secrecy,
                "cipher": suite.cipher,
                "authentication": suite.authentication,
                "oldest_version": suite.version,
            }
            for suite in published(profile)
        ],
    }


def _row(suite: tuple[str, str, str, str, str], profile: Profile) -> PublishedSuite:
    openssl, name, exchange, cipher, version = suite
    authentication = "ECDSA/128" if "_ECDSA_" in name else "RSA/112"
    oldest = max(version, profile.min_version)
    return PublishedSuite(name, openssl, exchange, not exchange.startswith("RSA"), cipher, authentication, oldest)


def iana_name(openssl: str) -> str:
    """The IANA name of a suite that OpenSSL names `openssl`; that name itself where both agree or none is known."""
    row = _ROWS.get(openssl)
    return row[1] if row else openssl


def group_name(library: str) -> str:
    """The name of a group as we print it ("X25519", "P-256"), whatever the library calls it."""
    return _GROUP_NAMES.get(library, library)


def version_name(library: str) -> str:
    """The name out of `VERSIONS` for what OpenSSL calls a version ("TLSv1" is "TLSv1.0")."""
    return "TLSv1.0" if library == "TLSv1" else library


def with_minimum(profile: Profile, version: str) -> Profile:
    """The profile without the versions below `version` (a connector's `min_tls_version`).

    Never lowers what the profile asks for. Raises ValueError for a version that is not one of `VERSIONS`.
    """
    if version not in VERSIONS:
        raise ValueError(f"unknown TLS version {version!r}, one of {', '.join(VERSIONS)} is expected")
    return replace(profile, min_version=max(profile.min_version, version))


def classical_only(profile: Profile) -> Profile | None:
    """The profile without its post-quantum groups, whose key shares make a ClientHello of more than 1,400 bytes.

    None if it has none, or nothing else: then there is no lesser way. Versions, suites and signatures stay as they are.
    """
    hybrid, slash, rest = profile.groups.partition(" / ")
    return replace(profile, groups=rest) if slash and "MLKEM" in hybrid else None
