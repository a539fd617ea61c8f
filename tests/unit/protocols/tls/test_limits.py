from __future__ import annotations

import itertools

import pytest

from gatepost.protocols.tls.limits import (
    GROUPS,
    NO_LIMITS,
    POST_QUANTUM,
    SUITES,
    TlsLimits,
    limited,
    offer,
    parse_group,
    parse_suite,
)
from gatepost.protocols.tls.profile import PROFILES, classical_only, with_minimum
from gatepost.values import replace

AES, CHACHA = "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"
RSA_OLD, ECDSA_OLD = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
DHE, STATIC = "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_RSA_WITH_AES_256_GCM_SHA384"
QUANTUM = limited(post_quantum=True)
DEFAULT = PROFILES["default"]


def test_groups_and_suites_are_those_of_the_profiles():
    assert GROUPS == ("X25519MLKEM768", "X25519", "P-256", "P-384", "P-521")
    assert POST_QUANTUM == ("X25519MLKEM768",)
    assert SUITES[:2] == (AES, CHACHA)
    assert {RSA_OLD, ECDSA_OLD, DHE, STATIC} < set(SUITES)


@pytest.mark.parametrize(
    ("text", "group"),
    [("X25519MLKEM768", "X25519MLKEM768"), ("x25519", "X25519"), (" secp256r1 ", "P-256"), ("PRIME256V1", "P-256"),
     ("p-384", "P-384"), ("secp521r1", "P-521")],
)  # fmt: skip
def test_a_group_has_many_names(text, group):
    assert parse_group(text) == group


@pytest.mark.parametrize("text", ["", "X448", "ffdhe2048", "X25519:P-256", "?X25519"])
def test_what_is_no_group_is_told_with_those_there_are(text):
    with pytest.raises(ValueError, match="choose from: X25519MLKEM768, X25519, P-256, P-384, P-521"):
        parse_group(text)


@pytest.mark.parametrize(
    ("text", "suite"),
    [
        (AES, AES),
        (AES.lower(), AES),
        ("ECDHE-RSA-AES256-GCM-SHA384", RSA_OLD),
        (RSA_OLD, RSA_OLD),
        ("AES256-GCM-SHA384", STATIC),
    ],
)
def test_a_suite_has_two_names(text, suite):
    assert parse_suite(text) == suite


@pytest.mark.parametrize("text", ["", "HIGH", "RC4-SHA", "TLS_AES_128_CCM_SHA256", f"{AES}:{CHACHA}"])
def test_what_is_no_suite_is_told_where_they_are_listed(text):
    with pytest.raises(ValueError, match="gatepost tls profiles"):
        parse_suite(text)


def test_an_empty_list_limits_nothing_and_order_has_no_meaning():
    assert limited() == NO_LIMITS
    assert NO_LIMITS.allowed_groups == GROUPS
    assert NO_LIMITS.allowed_suites == SUITES
    assert limited(groups=["P-256", "X25519", "P-256"]) == limited(groups=["X25519", "P-256"])
    assert limited(suites=[CHACHA, AES]).suites == (AES, CHACHA)


def test_a_limit_of_groups_leaves_no_suite_without_a_group():
    assert {DHE, STATIC}.isdisjoint(QUANTUM.allowed_suites)
    assert limited(suites=[DHE]).allowed_suites == (DHE,)
    assert limited(groups=["P-256"], suites=[DHE]).allowed_suites == ()


SOME = [NO_LIMITS, QUANTUM, limited(groups=["P-256"]), limited(groups=["P-256", "X25519"], suites=[AES]),
        limited(suites=[AES, CHACHA]), limited(suites=[RSA_OLD]), TlsLimits(groups=())]  # fmt: skip


def test_what_keeps_both_keeps_each():
    for one, other, third in itertools.product(SOME, repeat=3):
        both = one.joined(other)
        assert both == other.joined(one)
        assert both.joined(third) == one.joined(other.joined(third))
        assert set(both.allowed_groups) == set(one.allowed_groups) & set(other.allowed_groups)
        assert set(both.allowed_suites) <= set(one.allowed_suites) & set(other.allowed_suites)
    assert all(one.joined(one) == one == one.joined(NO_LIMITS) for one in SOME)


@pytest.mark.parametrize(
    ("limits", "texts", "expectation"),
    [
        (NO_LIMITS, (), ""),
        (QUANTUM, ("post-quantum key exchange",), "post-quantum key exchange (X25519MLKEM768)"),
        (limited(groups=["P-384", "P-256"]), ("groups P-256,P-384",), "key exchange by P-256 or P-384"),
        (
            limited(groups=["P-256"], suites=SUITES[:5]),
            ("groups P-256", f"cipher suites {','.join(SUITES[:5])}"),
            f"key exchange by P-256; cipher suite {SUITES[0]}, {SUITES[1]}, {SUITES[2]} or 2 more",
        ),
        (
            TlsLimits(groups=(), suites=()),
            ("groups none", "cipher suites none"),
            "key exchange by none; cipher suite none",
        ),
    ],
)
def test_limits_in_words(limits, texts, expectation):
    assert (limits.texts, limits.expectation) == (texts, expectation)


@pytest.mark.parametrize(
    ("limits", "group", "suite", "kind"),
    [
        (NO_LIMITS, "", STATIC, None),
        (QUANTUM, "X25519MLKEM768", AES, None),
        (QUANTUM, "X25519", AES, "key-exchange"),
        (QUANTUM, "SecP256r1MLKEM768", AES, "key-exchange"),  # of which nothing is known here
        (QUANTUM, "", AES, "key-exchange"),
        (limited(groups=["P-256"]), "P-256", RSA_OLD, None),
        (limited(groups=["P-256"]), "", DHE, "key-exchange"),
        (limited(groups=["P-256"]), "X25519MLKEM768", AES, "key-exchange"),
        (limited(suites=[AES]), "X25519", AES, None),
        (limited(suites=[AES]), "X25519", CHACHA, "cipher-suite"),
        (limited(groups=["P-256"], suites=[AES]), "X25519", CHACHA, "key-exchange"),
        (TlsLimits(groups=()), "X25519", AES, "key-exchange"),
    ],
)
@pytest.mark.parametrize("resumed", [False, True])
def test_only_what_a_handshake_proved_counts(tls, limits, group, suite, kind, resumed):
    unmet = limits.unmet(replace(tls, group=group, suite=suite, resumed=resumed))
    assert (unmet and unmet.kind) == kind
    if unmet:
        assert unmet.presented == ((group or "none with a group") if kind == "key-exchange" else suite)
        assert unmet.expected


@pytest.mark.parametrize(
    ("profile", "limits", "versions", "groups"),
    [
        (DEFAULT, NO_LIMITS, ("TLSv1.2", "TLSv1.3"), DEFAULT.groups),
        (DEFAULT, QUANTUM, ("TLSv1.3", "TLSv1.3"), "?*X25519MLKEM768"),
        (PROFILES["legacy"], QUANTUM, ("TLSv1.3", "TLSv1.3"), "?*X25519MLKEM768"),
        (DEFAULT, limited(groups=["P-256", "P-384"]), ("TLSv1.2", "TLSv1.3"), "?*P-256:?P-384"),
        (DEFAULT, limited(groups=["X25519", "P-384"]), ("TLSv1.2", "TLSv1.3"), "?*X25519:?P-384"),
        (
            DEFAULT,
            limited(groups=["P-384", "X25519MLKEM768"]),
            ("TLSv1.2", "TLSv1.3"),
            "?*X25519MLKEM768 / ?*P-384",
        ),
        (DEFAULT, limited(suites=[AES]), ("TLSv1.3", "TLSv1.3"), DEFAULT.groups),
        (DEFAULT, limited(suites=[RSA_OLD]), ("TLSv1.2", "TLSv1.2"), DEFAULT.groups),
        (DEFAULT, limited(suites=[RSA_OLD, AES]), ("TLSv1.2", "TLSv1.3"), DEFAULT.groups),
        (PROFILES["compatible"], limited(suites=[DHE]), ("TLSv1.2", "TLSv1.2"), DEFAULT.groups),
    ],
)
def test_what_may_be_negotiated(profile, limits, versions, groups):
    made = offer(profile, limits)
    assert ((made.min_version, made.max_version), made.groups) == (versions, groups)
    assert made.suites12
    assert made.suites13
    assert (made.name, made.security_level) == (profile.name, profile.security_level)


def test_suites_keep_the_order_of_the_profile_and_need_a_group():
    assert offer(DEFAULT, limited(suites=[CHACHA, AES, RSA_OLD])).suites13 == f"{AES}:{CHACHA}"
    assert offer(DEFAULT, limited(suites=[CHACHA, RSA_OLD])).suites12 == "ECDHE-RSA-AES256-GCM-SHA384"
    assert ":DHE-" not in offer(PROFILES["compatible"], limited(groups=["P-256"])).suites12


@pytest.mark.parametrize(
    ("profile", "limits", "why"),
    [
        (DEFAULT, TlsLimits(post_quantum=True, groups=("P-256",)), "no group is left to negotiate: post-quantum"),
        (DEFAULT, TlsLimits(groups=()), "no group is left to negotiate: key exchange by none"),
        (PROFILES["modern"], limited(suites=[RSA_OLD]), "no cipher suite is left to negotiate for TLSv1.3 or newer"),
        (
            with_minimum(DEFAULT, "TLSv1.3"),
            limited(suites=[RSA_OLD]),
            "no cipher suite is left to negotiate for TLSv1.3 or newer",
        ),
        (DEFAULT, limited(post_quantum=True, suites=[RSA_OLD]), "no cipher suite is left to negotiate for TLS 1.3"),
        (DEFAULT, limited(suites=[DHE]), "no cipher suite is left to negotiate for TLS 1.3: cipher suite TLS_DHE"),
    ],
)
def test_nothing_to_negotiate_is_an_error(profile, limits, why):
    with pytest.raises(ValueError, match=why):
        offer(profile, limits)


def test_there_is_no_lesser_way_where_one_kind_of_groups_is_left():
    assert classical_only(offer(DEFAULT, QUANTUM)) is None
    assert classical_only(offer(DEFAULT, limited(groups=["P-256"]))) is None
    lesser = classical_only(offer(DEFAULT, limited(groups=["P-256", "X25519MLKEM768"])))
    assert lesser is not None
    assert lesser.groups == "?*P-256"
