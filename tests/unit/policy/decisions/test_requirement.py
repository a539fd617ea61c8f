from __future__ import annotations

from itertools import pairwise

import pytest

from gatepost.policy.connectors import values
from gatepost.policy.connectors.values import Cleartext
from gatepost.policy.decisions.requirement import (
    Achieved,
    Authenticated,
    DaneProof,
    Encrypted,
    Identity,
    MxLevel,
    Opportunistic,
    Shortfall,
    Source,
    StsProof,
    TlsLevel,
    Verdict,
    offered,
)
from gatepost.protocols.dane.tlsa import Records
from gatepost.protocols.tls.limits import limited
from gatepost.protocols.tls.profile import PROFILES
from gatepost.protocols.tlsrpt.result import ResultType

SOURCE = (Source("connector", "bank-out"),)


@pytest.mark.parametrize("ladder", [TlsLevel, MxLevel])
def test_ladders_rise(ladder: type[TlsLevel | MxLevel]) -> None:
    assert all(lower < higher for lower, higher in pairwise(ladder))


def test_cleartext_is_the_word_that_connectors_use() -> None:
    assert Cleartext is values.Cleartext


@pytest.mark.parametrize(
    ("source", "shown"), [(Source("connector", "bank-out"), "connector:bank-out"), (Source("default"), "default")]
)
def test_a_source_is_shown_with_its_name(source: Source, shown: str) -> None:
    assert str(source) == shown


def test_equal_requirements_are_one_key_for_a_pool_and_stricter_ones_another() -> None:
    requirements = {
        Opportunistic(SOURCE),
        Opportunistic(SOURCE),
        Encrypted(SOURCE),
        Encrypted(SOURCE, min_version="TLSv1.3"),
        Authenticated(SOURCE, (Identity(()),)),
        Authenticated(SOURCE, (Identity(("b.example",)),)),
        Authenticated(SOURCE, (Identity(("b.example",), "/etc/roots.pem"),)),
    }
    assert len(requirements) == 6


def test_all_that_a_peer_must_prove() -> None:
    other = Identity((), "/etc/roots.pem")
    records = DaneProof(Records(), ("mx.b.example",))
    asked = Authenticated(SOURCE, (records, Identity(("b.example",)), other, StsProof("b.example", "mx.b.example")))
    assert asked.names == (("b.example",), ("mx.b.example",))
    assert asked.anchors == ("", "/etc/roots.pem")
    assert asked.dane == (records,)


def test_a_verdict_passed_exactly_when_nothing_falls_short() -> None:
    achieved = Achieved(TlsLevel.ENCRYPTED)
    shortfall = Shortfall(ResultType.CERTIFICATE_EXPIRED, "4.7.320", "CertificateExpired", "")
    assert Verdict(Encrypted(SOURCE), achieved, None).passed
    assert not Verdict(Encrypted(SOURCE), achieved, shortfall).passed


def test_what_is_offered_follows_from_all_that_is_required() -> None:
    assert offered(Opportunistic(SOURCE, profile="legacy")) is PROFILES["legacy"]
    assert offered(Encrypted(SOURCE)) is PROFILES["default"]
    assert offered(Encrypted(SOURCE, min_version="TLSv1.3")).min_version == "TLSv1.3"
    quantum = offered(Authenticated(SOURCE, (Identity(()),), limits=limited(post_quantum=True)))
    assert (quantum.min_version, quantum.groups) == ("TLSv1.3", "?*X25519MLKEM768")
    old = limited(suites=["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"])
    with pytest.raises(ValueError, match="no cipher suite is left"):
        offered(Encrypted(SOURCE, min_version="TLSv1.3", limits=old))
