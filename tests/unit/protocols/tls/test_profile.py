from __future__ import annotations

import pytest

from gatepost.protocols.tls.profile import (
    PROFILES,
    VERSIONS,
    classical_only,
    group_name,
    iana_name,
    profile_record,
    published,
    version_name,
    with_minimum,
)
from gatepost.values import replace

# exchange.md section 8.2, in Microsoft's order, the typing error of the last row corrected.
MICROSOFT = [
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDH/192", True, "AES/256", "RSA/112"),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDH/128", True, "AES/128", "RSA/112"),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", "ECDH/192", True, "AES/256", "RSA/112"),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDH/128", True, "AES/128", "RSA/112"),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDH/192", True, "AES/256", "RSA/112"),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDH/128", True, "AES/128", "RSA/112"),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", "RSA/112", False, "AES/256", "RSA/112"),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", "RSA/112", False, "AES/128", "RSA/112"),
]


def test_there_are_four_profiles_strictest_first():
    assert list(PROFILES) == ["modern", "default", "compatible", "legacy"]
    assert all(name == profile.name for name, profile in PROFILES.items())


def test_compatible_holds_microsofts_list_in_microsofts_order():
    rows = [
        (row.name, row.key_exchange, row.forward_secrecy, row.cipher, row.authentication)
        for row in published(PROFILES["compatible"])
        if row.version == "TLSv1.2"
        and "_ECDSA_" not in row.name
        and "CHACHA" not in row.name
        # Theirs has none: for servers without elliptic curves.
        and not row.name.startswith("TLS_DHE_")
    ]
    assert rows == MICROSOFT


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_tls13_comes_first_then_aead_then_cbc_then_what_has_no_forward_secrecy(profile):
    rows = published(profile)
    order = [(row.version != "TLSv1.3", not row.forward_secrecy, "_CBC_" in row.name) for row in rows]
    assert order == sorted(order)
    assert len({row.name for row in rows}) == len(rows)
    assert rows[0].name == "TLS_AES_256_GCM_SHA384"


@pytest.mark.parametrize(
    ("name", "oldest", "forward_secret", "cbc"),
    [
        ("modern", "TLSv1.3", True, False),
        ("default", "TLSv1.2", True, True),
        ("compatible", "TLSv1.2", False, True),
        ("legacy", "TLSv1.0", False, True),
    ],
)
def test_what_a_profile_lets_through(name, oldest, forward_secret, cbc):
    rows = published(PROFILES[name])
    assert min(row.version for row in rows) == PROFILES[name].min_version == oldest
    assert all(row.forward_secrecy for row in rows) is forward_secret
    assert any("_CBC_" in row.name for row in rows) is cbc


def test_sha1_suites_are_published_with_the_oldest_version_that_carries_them():
    versions = {row.name: row.version for row in published(PROFILES["legacy"])}
    assert versions["TLS_RSA_WITH_AES_128_CBC_SHA"] == "TLSv1.0"
    assert versions["TLS_RSA_WITH_AES_128_CBC_SHA256"] == "TLSv1.2"
    assert {row.version for row in published(PROFILES["default"])} == {"TLSv1.2", "TLSv1.3"}


def test_the_hybrid_group_shows_in_the_list():
    first = published(PROFILES["modern"])[0]
    assert (first.key_exchange, first.forward_secrecy, first.authentication) == (
        "ECDH+MLKEM/192",
        True,
        "ECDSA/128, RSA/112",
    )
    classic = replace(PROFILES["modern"], groups="X25519:P-256")
    assert published(classic)[0].key_exchange == "ECDH/128"


def test_ecdsa_suites_say_so():
    row = next(row for row in published(PROFILES["default"]) if row.name == "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
    assert (row.openssl, row.authentication) == ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA/128")


def test_a_profile_without_tls13_publishes_none_of_it():
    rows = published(replace(PROFILES["default"], max_version="TLSv1.2"))
    assert {row.version for row in rows} == {"TLSv1.2"}
    assert published(replace(PROFILES["modern"], suites13="TLS_AES_128_GCM_SHA256"))[0].cipher == "AES/128"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
        ("AES128-SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"),
        ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        ("SOMETHING-NEW", "SOMETHING-NEW"),
    ],
)
def test_iana_names(given, expected):
    assert iana_name(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("x25519", "X25519"), ("secp256r1", "P-256"), ("X25519MLKEM768", "X25519MLKEM768"), ("brainpool", "brainpool")],
)
def test_group_names(given, expected):
    assert group_name(given) == expected


@pytest.mark.parametrize(("given", "expected"), [("TLSv1", "TLSv1.0"), ("TLSv1.1", "TLSv1.1"), ("TLSv1.3", "TLSv1.3")])
def test_version_names(given, expected):
    assert version_name(given) == expected


def test_version_names_sort_by_age():
    assert list(VERSIONS) == sorted(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", PROFILES)
def test_a_minimum_only_ever_raises(name, version):
    assert with_minimum(PROFILES[name], version).min_version == max(PROFILES[name].min_version, version)


def test_an_unknown_minimum_is_an_error():
    with pytest.raises(ValueError, match=r"unknown TLS version '1\.2'"):
        with_minimum(PROFILES["default"], "1.2")


def test_a_profile_for_machines():
    record = profile_record(PROFILES["modern"])
    assert (record["profile"], record["min_version"], record["max_version"]) == ("modern", "TLSv1.3", "TLSv1.3")
    assert record["suites"][0] == {
        "name": "TLS_AES_256_GCM_SHA384",
        "key_exchange": "ECDH+MLKEM/192",
        "forward_secrecy": True,
        "cipher": "AES/256",
        "authentication": "ECDSA/128, RSA/112",
        "oldest_version": "TLSv1.3",
    }
    assert len(record["suites"]) == 3


@pytest.mark.parametrize("name", PROFILES)
def test_without_post_quantum_groups_all_else_stays(name):
    profile = PROFILES[name]
    classical = classical_only(profile)
    assert classical == replace(profile, groups="?*X25519:?P-256:?P-384:?P-521")
    assert classical_only(classical) is None, "there is no lesser way"


def test_a_profile_that_demands_post_quantum_groups_has_no_other():
    assert classical_only(replace(PROFILES["modern"], groups="*X25519MLKEM768")) is None
    assert classical_only(replace(PROFILES["modern"], groups="*X25519 / P-256")) is None


def test_key_exchange_without_elliptic_curves_is_for_profiles_that_are_named():
    with_dhe = [name for name, profile in PROFILES.items() if "DHE-RSA" in profile.suites12.replace("ECDHE", "")]
    assert with_dhe == ["compatible", "legacy"]
    rows = {row.name: row for row in published(PROFILES["compatible"])}
    assert rows["TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"].forward_secrecy
    assert not any("_DHE_RSA_" in name and "_CBC_" in name for name in rows)
