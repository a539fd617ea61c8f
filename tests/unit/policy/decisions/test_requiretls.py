from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatepost.policy.connectors.records import OutboundConnector
from gatepost.policy.connectors.values import Cleartext, RevocationCheck
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.home import Nodes
from gatepost.policy.decisions.requirement import (
    Authenticated,
    DaneProof,
    Encrypted,
    Identity,
    MxLevel,
    Opportunistic,
    Proof,
    Requirement,
    Shortfall,
    Source,
    StsProof,
)
from gatepost.policy.decisions.requiretls import (
    Asks,
    asks_of,
    demand,
    obeys_cleartext,
    relaxed,
    relaxed_by,
    settled,
    unknown_host,
)
from gatepost.protocols.dane.tlsa import MatchingType, Records, Selector, Tlsa, Usage
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

MakeHop = Callable[..., HopFacts]

HOST = "mx.b.example"
OUT = (Source("connector", "out"),)
ASKED = (Source("requiretls"),)
OPPORTUNISTIC = Opportunistic(OUT)
RECORDS = Records((Tlsa(Usage.DANE_EE, Selector.SPKI, MatchingType.SHA2_256, bytes(32)),))
BY_DANE = DaneProof(RECORDS, (HOST,))
OWN_NAME = Identity(("*.b.example",), "/own.pem")


def connector(**fields: Any) -> OutboundConnector:
    return OutboundConnector.model_validate({"name": "out", "recipient_domains": ["b.example"], **fields})


@pytest.mark.parametrize(
    ("require_tls", "no", "notice", "asks", "demands"),
    [
        (False, False, False, Asks.NOTHING, False),
        (False, False, True, Asks.NOTHING, False),
        (True, False, False, Asks.REQUIRED, True),
        (True, True, False, Asks.REQUIRED, True),  # the header field is ignored
        (True, False, True, Asks.NOTICE, True),
        (False, True, False, Asks.WAIVED, False),
        (False, True, True, Asks.WAIVED, False),
    ],
)
def test_what_a_message_asks(require_tls: bool, no: bool, notice: bool, asks: Asks, demands: bool) -> None:
    assert asks_of(require_tls=require_tls, tls_required_no=no, relayed_notice=notice) is asks
    assert asks.demands is demands


@pytest.mark.parametrize(
    ("fields", "relaxes", "obeyed"),
    [
        ({}, "", False),
        ({"requiretls_mode": "relaxed"}, "out", False),
        ({"requiretls_mode": "relaxed", "mode": "rehearse"}, "", False),
        ({"cleartext": "only-if-not-offered"}, "", True),
        ({"cleartext": "only-if-not-offered", "mode": "rehearse"}, "", False),
    ],
)
def test_what_a_connector_has_to_say(fields: dict[str, Any], relaxes: str, obeyed: bool) -> None:
    assert relaxed_by(connector(**fields)) == relaxes
    assert obeys_cleartext(connector(**fields)) is obeyed


def test_without_a_connector_nobody_says_anything() -> None:
    assert relaxed_by(None) == ""
    assert not obeys_cleartext(None)


@pytest.mark.parametrize(
    ("requirement", "obey", "eased"),
    [
        (OPPORTUNISTIC, False, Opportunistic(OUT, Cleartext.AFTER_FAILED_HANDSHAKE)),
        (OPPORTUNISTIC, True, OPPORTUNISTIC),
        (Encrypted(OUT), False, Encrypted(OUT)),
        (Authenticated(OUT, (OWN_NAME,)), False, Authenticated(OUT, (OWN_NAME,))),
    ],
)
def test_what_tls_required_no_relaxes(requirement: Requirement, obey: bool, eased: Requirement) -> None:
    assert relaxed(requirement, obey=obey) == eased


@pytest.mark.parametrize(
    ("requirement", "host", "by_mx", "proofs"),
    [
        (OPPORTUNISTIC, HOST, True, (Identity((HOST,)),)),
        (OPPORTUNISTIC, HOST, False, (Identity((HOST,)),)),
        (Encrypted(OUT), HOST, True, (Identity((HOST,)),)),
        (Authenticated(OUT, (BY_DANE, OWN_NAME)), HOST, True, (BY_DANE,)),
        (Authenticated(OUT, (BY_DANE,)), "192.0.2.1", False, (BY_DANE,)),
        # an administrator's word for a host counts, but not for whatever an MX record names
        (Authenticated(OUT, (OWN_NAME,)), HOST, False, (OWN_NAME,)),
        (Authenticated(OUT, (OWN_NAME,)), HOST, True, (Identity((HOST,)),)),
        (Authenticated(OUT, (Identity((), "/own.pem"),)), HOST, False, (Identity((HOST,)),)),
        (Authenticated(OUT, (StsProof("b.example", HOST),)), HOST, True, (Identity((HOST,)),)),
        (Authenticated(OUT, (OWN_NAME,)), "192.0.2.1", False, (OWN_NAME,)),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_requiretls_demands(
    requirement: Requirement, host: str, by_mx: bool, proofs: tuple[Proof, ...], strict: bool
) -> None:
    level = MxLevel.MTA_STS if by_mx else MxLevel.NONE
    wanted = Authenticated(ASKED, proofs, revocation=RevocationCheck.NONE, mx=level, requiretls=strict)
    assert demand(requirement, host, by_mx=by_mx, strict=strict) == wanted


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "[192.0.2.1]", "[IPv6:2001:db8::1]"])
@pytest.mark.parametrize("requirement", [OPPORTUNISTIC, Authenticated(OUT, (Identity(()),))])
def test_an_address_without_a_name_is_unfit_for_good(host: str, requirement: Requirement) -> None:
    found = demand(requirement, host, by_mx=False, strict=True)
    assert isinstance(found, Shortfall)
    assert (found.enhanced, found.result_type, found.message) == ("5.7.10", None, "HostHasNoName")
    assert "Write its host name" in found.detail  # who can act is whoever named the host
    by_mx = demand(requirement, host, by_mx=True, strict=True)
    assert isinstance(by_mx, Shortfall)
    assert "Write its host name" not in by_mx.detail


def test_a_recipient_at_an_address_has_no_mx_record_to_prove() -> None:
    found = unknown_host("[192.0.2.1]", "[192.0.2.1]", "DNSSEC: off. ", passing=False)
    assert (found.enhanced, found.message) == ("5.7.10", "HostHasNoName")
    assert "MX" not in found.detail


@pytest.mark.parametrize(("passing", "status"), [(True, "4.7.10"), (False, "5.7.10")])
def test_a_host_that_nothing_proves(passing: bool, status: str) -> None:
    found = unknown_host(HOST, "b.example", "DNSSEC: off. ", passing=passing)
    assert found.enhanced == status
    assert "MX record of b.example that names mx.b.example" in found.detail
    assert "DNSSEC: off. Set by requiretls." in found.detail


STRICT = Authenticated(ASKED, (Identity((HOST,)),), mx=MxLevel.MTA_STS, requiretls=True)
RELAXED = Authenticated(ASKED, (Identity((HOST,)),), mx=MxLevel.MTA_STS)
OTHERS = Authenticated(OUT, (OWN_NAME,))


def missing(word: str = "SubjectMismatch", title: str = "") -> Shortfall:
    return Shortfall(ResultType.VALIDATION_FAILURE, "4.7.320", word, "why.", title)


@pytest.mark.parametrize(
    ("requirement", "facts", "found", "status"),
    [
        (STRICT, {"mx": MxLevel.DNSSEC, "requiretls_offered": True}, None, ""),
        (STRICT, {"mx": MxLevel.MTA_STS, "requiretls_offered": True}, None, ""),
        (STRICT, {"mx": MxLevel.DNSSEC}, None, "5.7.30"),
        (STRICT, {"requiretls_offered": True}, None, "5.7.10"),
        (RELAXED, {"mx": MxLevel.DNSSEC}, None, ""),
        (RELAXED, {}, None, "5.7.10"),
        (OTHERS, {}, None, ""),
        (STRICT, {}, missing(), "5.7.10"),
        (RELAXED, {}, missing(), "5.7.10"),
        (OTHERS, {}, missing(), "4.7.320"),
        (STRICT, {"passing": True}, missing(), "4.7.320"),
        (STRICT, {}, missing("RevocationUnknown"), "4.7.320"),
    ],
)
def test_what_a_connection_falls_short_of(
    hop: MakeHop, requirement: Authenticated, facts: dict[str, Any], found: Shortfall | None, status: str
) -> None:
    said = settled(requirement, hop(**facts), found)
    assert (said.enhanced if said else "") == status
    if said and found:
        assert (said.result_type, said.message, said.detail) == (found.result_type, found.message, found.detail)


@pytest.mark.parametrize(
    ("title", "told"),
    [("", "Encryption needed (REQUIRETLS)"), ("MTA-STS", "Encryption needed (REQUIRETLS). MTA-STS")],
)
def test_the_words_of_what_is_unfit_for_good(hop: MakeHop, title: str, told: str) -> None:
    said = settled(STRICT, hop(), missing(title=title))
    assert said is not None
    assert said.title == told


def test_a_node_of_our_own_that_does_not_do_is_never_unfit_for_good(hop: MakeHop) -> None:
    requirement = Nodes("mx1.a.example", "a-site").requirement("mx2.a.example", "default")
    asked = replace(requirement, sources=(*requirement.sources, Source("requiretls")), requiretls=True)
    assert settled(asked, hop(), missing()) == missing()
    found = settled(asked, hop(requiretls_offered=False), None)
    assert found is not None
    assert (found.enhanced, found.message) == ("4.7.30", "RequireTlsNotOffered")


def test_a_journal_copy_cannot_be_waived_and_requiretls_asks_for_more() -> None:
    assert asks_of(require_tls=False, tls_required_no=True, relayed_notice=True, journal=True) is Asks.JOURNAL
    assert asks_of(require_tls=True, tls_required_no=False, relayed_notice=True, journal=True) is Asks.REQUIRED
    assert Asks.JOURNAL.demands
