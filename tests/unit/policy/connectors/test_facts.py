from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost.policy.connectors.facts import Introduction, SessionFacts, Teller
from gatepost.policy.connectors.trust_anchors import anchors_label
from gatepost.protocols.tls.facts import ChainVerdict


def test_a_chain_is_found_by_the_anchors_it_was_judged_against(chain: Callable[..., ChainVerdict]) -> None:
    own, other = chain("a.example"), chain("a.example", status="untrusted-root")
    facts = SessionFacts("s1", "192.0.2.1", client_chain=own, chains={"/etc/partner.pem": other})
    assert facts.chain("") is own
    assert facts.chain("/etc/partner.pem") is other
    assert facts.chain("/etc/else.pem") is None


def test_a_row_of_the_trace_has_certificates_by_their_label(chain: Callable[..., ChainVerdict]) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n"
    other = chain("a.example")
    kept = SessionFacts("s1", "192.0.2.1", chains={anchors_label(pem): other})
    assert kept.chain(pem) is other
    assert SessionFacts("s1", "192.0.2.1").chain(pem) is None


def test_facts_cannot_be_changed_and_are_hashable() -> None:
    facts = SessionFacts("s1", "192.0.2.1")
    with pytest.raises(AttributeError):
        facts.peer_ip = "192.0.2.2"  # type: ignore[misc]
    assert hash(facts) == hash(SessionFacts("s1", "192.0.2.1"))


@pytest.mark.parametrize(
    ("how", "connection"),
    [(Teller.PROXY, "192.0.2.1"), (Teller.XCLIENT, "192.0.2.1"), (Teller.RECEIVED, "192.0.2.7")],
)
def test_a_message_changes_no_connection(how: Teller, connection: str) -> None:
    facts = SessionFacts("s1", "192.0.2.1", introduction=Introduction(how, "192.0.2.7"))
    assert facts.connection_ip == connection
    assert SessionFacts("s1", "192.0.2.1").connection_ip == "192.0.2.1"


@pytest.mark.parametrize("tls", [{}, {"version": "TLSv1.3"}])
def test_an_introduction_is_the_same_after_the_trace(tls: dict[str, str]) -> None:
    introduction = Introduction(Teller.PROXY, "192.0.2.7", tls)
    assert introduction.record() == {"how": "PROXY", "by": "192.0.2.7"} | ({"tls": tls} if tls else {})
    assert Introduction.read(introduction.record()) == introduction
    assert introduction.text == "by PROXY of 192.0.2.7"


def test_an_introduction_has_a_hash_whatever_the_proxy_said_of_tls() -> None:
    said = Introduction(Teller.PROXY, "192.0.2.7", {"version": "TLSv1.3"})
    assert hash(said) == hash(Introduction(Teller.PROXY, "192.0.2.7"))
    assert said != Introduction(Teller.PROXY, "192.0.2.7")
