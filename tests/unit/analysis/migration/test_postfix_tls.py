from __future__ import annotations

import pytest

from gatepost.analysis.migration.postfix_config import parse_main
from gatepost.analysis.migration.postfix_tls import (
    LEVELS,
    Policy,
    demand,
    global_policy,
    lowest_version,
    parse_policy,
)
from gatepost.analysis.migration.report import ImportResult, Part

POLICIES = [
    ("may", Policy("may", {}, "w")),
    (
        "Secure match=b.example:.b.example protocols=>=TLSv1.2",
        Policy("secure", {"match": ("b.example:.b.example",), "protocols": (">=TLSv1.2",)}, "w"),
    ),
    ("fingerprint match=aa match=bb", Policy("fingerprint", {"match": ("aa", "bb")}, "w")),
    ("", None),
    ("MUST", None),
]


@pytest.mark.parametrize(("text", "policy"), POLICIES)
def test_policies(text, policy):
    assert parse_policy(text, "w") == policy


GLOBAL = [
    ("a = b", "none"),
    ("smtp_tls_security_level = Encrypt", "encrypt"),
    ("smtp_use_tls = yes", "may"),
    ("smtp_enforce_tls = yes", "verify"),
    ("smtp_enforce_tls = yes\nsmtp_tls_enforce_peername = no", "encrypt"),
    ("smtp_tls_security_level = may\nsmtp_enforce_tls = yes", "may"),
]


@pytest.mark.parametrize(("text", "level"), GLOBAL)
def test_the_level_for_all_others(text, level):
    policy = global_policy(parse_main(text))
    assert policy is not None
    assert policy.level == level


def test_a_level_that_is_none():
    assert global_policy(parse_main("smtp_tls_security_level = tls")) is None


VERSIONS = [
    (">=TLSv1.2", "TLSv1.2"),
    (">=tlsv1.3, <=TLSv1.3", "TLSv1.3"),
    (">=TLSv1", "TLSv1.0"),
    (">=0303", "TLSv1.2"),
    (">=0x0304", "TLSv1.3"),
    ("!SSLv2, !SSLv3", "TLSv1.0"),
    ("!SSLv2:!SSLv3:!TLSv1:!TLSv1.1", "TLSv1.2"),
    ("TLSv1.2 TLSv1.3", "TLSv1.2"),
    ("SSLv3", None),
    ("<=TLSv1.2", None),
    (">=nonsense", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "version"), VERSIONS)
def test_the_lowest_version_of_a_list(text, version):
    assert lowest_version(text) == version


def asked(text: str, main: str = "", nexthop: str = "b.example", *, by_mx: bool = True) -> Part:
    part = Part("outbound_connector", "x")
    policy = parse_policy(text, "policy")
    assert policy is not None
    demand(part, policy, parse_main(main), nexthop, by_mx=by_mx)
    return part


def outcomes(part: Part) -> list[tuple[str, str]]:
    return [(str(one.outcome), one.setting) for one in part.findings]


VALIDATION = {"tls_settings": "domain-validation"}
SMART = {"nexthop": "mx.b.example", "by_mx": False}
LOST, DIFFERS = str(ImportResult.LOST), str(ImportResult.DIFFERS)

# level and attributes, main.cf, the next hop, what is written, what is told
TLS13 = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]
RSA_OLD = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
DEMANDS = [
    ("none", "", {}, {}, [(DIFFERS, "policy")]),
    ("may", "", {}, {"cleartext": "after-failed-handshake"}, []),
    ("encrypt", "", {}, {"tls_settings": "encryption-only"}, []),
    ("dane", "", {}, {"cleartext": "after-failed-handshake"}, []),
    ("dane-only", "", {}, {"smtp_dane_mode": "mandatory"}, []),
    ("fingerprint match=aa:bb", "", {}, {"tls_settings": "certificate-validation"}, [(LOST, "policy")]),
    # names: nexthop and dot-nexthop are "*.domain"
    ("secure", "", {}, VALIDATION | {"tls_domain": "*.b.example"}, []),
    ("secure", "", SMART, VALIDATION | {"tls_domain": "*.mx.b.example"}, []),
    ("secure", "smtp_tls_secure_cert_match = nexthop", {}, VALIDATION | {"tls_domain": "b.example"}, []),
    ("secure", "smtp_tls_secure_cert_match = dot-nexthop", {}, VALIDATION | {"tls_domain": "*.b.example"},
     [(DIFFERS, "smtp_tls_secure_cert_match")]),
    ("secure", "", {"nexthop": ""}, VALIDATION, [(DIFFERS, "smtp_tls_secure_cert_match")]),
    ("secure match=nexthop", "", {"nexthop": ""}, VALIDATION, []),
    ("secure match=c.example:.c.example", "", {"nexthop": ""}, VALIDATION | {"tls_domain": "*.c.example"}, []),
    ("secure match=.c.example:d.example", "", {}, VALIDATION | {"tls_domain": "*.c.example"},
     [(DIFFERS, "policy: match"), (LOST, "policy: match")]),
    ("secure match=c.example:d.example", "", {}, VALIDATION | {"tls_domain": "c.example"}, [(LOST, "policy: match")]),
    ("secure match=c.example match=.c.example:d.example", "", {}, VALIDATION | {"tls_domain": "*.c.example"},
     [(LOST, "policy: match")]),
    ("secure", "", {"nexthop": "192.0.2.1", "by_mx": False}, VALIDATION, [(LOST, "smtp_tls_secure_cert_match")]),
    ("secure match=c.example:nexthop", "", {"nexthop": "2001:db8::1", "by_mx": False},
     VALIDATION | {"tls_domain": "c.example"}, [(LOST, "policy: match")]),
    ("verify", "", SMART, VALIDATION | {"tls_domain": "mx.b.example"}, []),
    ("verify", "", {}, VALIDATION | {"tls_domain": "b.example"}, [(DIFFERS, "smtp_tls_verify_cert_match")]),
    # roots
    ("verify", "smtp_tls_CAfile = /ca", SMART, VALIDATION | {"tls_domain": "mx.b.example", "trust_anchors": "/ca"}, []),
    ("verify", "smtp_tls_CAfile = /ca\nsmtp_tls_CApath = /dir", SMART,
     VALIDATION | {"tls_domain": "mx.b.example", "trust_anchors": "/ca"}, [(LOST, "smtp_tls_CAfile")]),
    ("verify tafile=/ta", "smtp_tls_CAfile = /ca", SMART,
     VALIDATION | {"tls_domain": "mx.b.example", "trust_anchors": "/ta"}, []),
    ("verify", "smtp_tls_CAfile = /ca\nsmtp_tls_trust_anchor_file = /ta", SMART,
     VALIDATION | {"tls_domain": "mx.b.example", "trust_anchors": "/ta"}, []),
    # versions
    ("encrypt protocols=>=TLSv1.3", "", {}, {"tls_settings": "encryption-only", "min_tls_version": "TLSv1.3"}, []),
    ("encrypt", "smtp_tls_mandatory_protocols = !SSLv2, !SSLv3, !TLSv1, !TLSv1.1", {},
     {"tls_settings": "encryption-only", "min_tls_version": "TLSv1.2"}, []),
    ("encrypt protocols=>=TLSv1", "", {}, {"tls_settings": "encryption-only"}, [(DIFFERS, "policy: protocols")]),
    ("encrypt protocols=<=TLSv1.2", "", {}, {"tls_settings": "encryption-only"}, [(LOST, "policy: protocols")]),
    ("may protocols=>=TLSv1.3", "", {}, {"cleartext": "after-failed-handshake"}, [(DIFFERS, "policy: protocols")]),
    ("may protocols=>=TLSv1.2", "", {}, {"cleartext": "after-failed-handshake"}, []),
    ("may", "smtp_tls_protocols = >=TLSv1.3", {}, {"cleartext": "after-failed-handshake"},
     [(DIFFERS, "smtp_tls_protocols")]),
    # groups and suites
    ("encrypt", "tls_eecdh_auto_curves = X25519MLKEM768, x25519 secp256r1", {},
     {"tls_settings": "encryption-only", "groups": ["X25519MLKEM768", "X25519", "P-256"]}, []),
    ("encrypt", "tls_eecdh_auto_curves = x25519 X448", {}, {"tls_settings": "encryption-only", "groups": ["X25519"]},
     [(LOST, "tls_eecdh_auto_curves")]),
    ("encrypt", "tls_eecdh_auto_curves = X448", {}, {"tls_settings": "encryption-only"},
     [(LOST, "tls_eecdh_auto_curves")]),
    ("encrypt", "tls_eecdh_auto_curves =", {}, {"tls_settings": "encryption-only"}, []),
    ("may", "tls_eecdh_auto_curves = x25519\ntls_medium_cipherlist = ECDHE-RSA-AES256-GCM-SHA384", {},
     {"cleartext": "after-failed-handshake"}, []),
    ("encrypt", "tls_medium_cipherlist = ECDHE-RSA-AES256-GCM-SHA384", {},
     {"tls_settings": "encryption-only", "cipher_suites": [*TLS13, RSA_OLD]}, []),
    ("encrypt ciphers=high", "tls_high_cipherlist = ECDHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES256-GCM-SHA384", {},
     {"tls_settings": "encryption-only", "cipher_suites": [*TLS13, RSA_OLD]}, [(LOST, "tls_high_cipherlist")]),
    ("encrypt", "tls_high_cipherlist = HIGH:!aNULL\nsmtp_tls_mandatory_ciphers = high", {},
     {"tls_settings": "encryption-only"}, [(LOST, "tls_high_cipherlist")]),
    ("encrypt", "tls_medium_cipherlist = DHE-RSA-AES256-GCM-SHA384", {}, {"tls_settings": "encryption-only"},
     [(LOST, "tls_medium_cipherlist")]),
    ("encrypt", "tls_high_cipherlist = ECDHE-RSA-AES256-GCM-SHA384", {}, {"tls_settings": "encryption-only"}, []),
    # attributes
    ("encrypt ciphers=high connection_reuse=yes", "", {}, {"tls_settings": "encryption-only"},
     [(LOST, "policy: ciphers")]),
    ("encrypt servername=x novelty=1", "", {}, {"tls_settings": "encryption-only"},
     [(LOST, "policy: servername"), (LOST, "policy: novelty")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "main", "hop", "table", "told"), DEMANDS)
def test_demands(text, main, hop, table, told):
    part = asked(text, main, **hop)
    assert part.table == table
    assert outcomes(part) == told


def test_every_level_has_a_case():
    assert {text.split()[0] for text, *_ in DEMANDS} == set(LEVELS)


def test_dane_only_falls_back_to_something_stricter():
    assert asked("dane-only").fallbacks["smtp_dane_mode"][0] == VALIDATION


def test_the_global_level_is_named_by_its_parameter():
    part = Part("outbound_connector", "x")
    demand(part, Policy("none"), parse_main(""), "", by_mx=True)
    assert outcomes(part) == [(DIFFERS, "smtp_tls_security_level")]
