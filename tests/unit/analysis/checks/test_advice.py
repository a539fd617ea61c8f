from __future__ import annotations

import pytest

from gatepost.analysis.checks import advice
from gatepost.mail.outbound.failure import HopFailure
from gatepost.mail.outbound.hop import Hop
from gatepost.net.stream import LossKind
from gatepost.policy.decisions.requirement import Encrypted
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict

HOP = Hop("mx.b.example", "192.0.2.1", 465, Encrypted(()))
TIMED_OUT = HopFailure(Reply(450, "4.4.315", ("Connection timed out",)), "no answer", loss=LossKind.TIMEOUT)


@pytest.mark.parametrize("status", [one for one in ChainStatus if one is not ChainStatus.TRUSTED])
def test_every_reason_against_a_chain_has_its_own_advice(status: ChainStatus) -> None:
    said = advice.certificate_advice(ChainVerdict(status, "", None))
    assert said.endswith((".", ")."))
    others = [
        advice.certificate_advice(ChainVerdict(one, "", None))
        for one in ChainStatus
        if one not in {status, ChainStatus.TRUSTED}
    ]
    assert said not in others


def test_a_chain_that_nobody_judged_is_our_fault() -> None:
    assert advice.certificate_advice(None) == advice.LOCAL_FAULT


def test_the_port_for_mail_programs() -> None:
    assert "Use port 25" in advice.greeting_advice(HOP, TIMED_OUT)


@pytest.mark.parametrize(
    ("error", "ours", "words"),
    [
        ("unsupported protocol", False, "switch TLS 1.2 or 1.3 on"),
        ("tlsv1 alert protocol version", False, "switch TLS 1.2 or 1.3 on"),
        ("wrong version number", False, "is not TLS"),
        ("tlsv1 alert unknown ca", True, "They do not accept our certificate"),
        ("tlsv1 alert unknown ca", False, "server's log"),
        ("sslv3 alert handshake failure", False, "No cipher suite"),
        ("unexpected eof", False, "server's log"),
    ],
)
def test_handshakes(error: str, ours: bool, words: str) -> None:
    assert words in advice.handshake_advice(error, ours=ours)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("tlsv1 alert protocol version", "min_key_exchange, groups or cipher_suites of the connector"),
        ("sslv3 alert handshake failure", "min_key_exchange, groups or cipher_suites of the connector"),
        ("unexpected eof", "server's log"),
    ],
)
def test_handshakes_of_a_connector_that_offers_less(error: str, words: str) -> None:
    assert words in advice.handshake_advice(error, ours=False, limited=True)


def test_connecting() -> None:
    assert "nothing listens on port 465 of 192.0.2.1" in advice.connect_advice(HOP, refused=True)
    assert "firewall" in advice.connect_advice(HOP, refused=False)


def test_a_host_of_an_mx_is_its_domains_matter() -> None:
    for said in (
        advice.connect_advice(HOP, "b.example", refused=True),
        advice.greeting_advice(HOP, TIMED_OUT, "b.example"),
        advice.resolve_advice(HOP.host, "b.example"),
    ):
        assert said.startswith("The administrators of b.example must ")
        assert "smart_hosts" not in said


def test_a_name_without_a_certificate() -> None:
    said = advice.name_advice(("a.example", "b.example"), ChainVerdict(ChainStatus.TRUSTED, "", None))
    assert "a.example or b.example" in said


@pytest.mark.parametrize("status", [ChainStatus.SELF_SIGNED, ChainStatus.UNTRUSTED_ROOT, ChainStatus.INCOMPLETE])
def test_an_lmtp_server_has_no_connector(status: ChainStatus) -> None:
    chain = ChainVerdict(status, "", None)
    for said in (advice.certificate_advice(chain, lmtp=True), advice.name_advice(("dovecot",), chain, lmtp=True)):
        assert "delivery of the mailbox" in said
        assert "connector" not in said
    expired = ChainVerdict(ChainStatus.EXPIRED, "", None)
    assert advice.certificate_advice(expired, lmtp=True) == advice.certificate_advice(expired)


@pytest.mark.parametrize(("code", "words"), [(451, "some minutes"), (550, "Its reply says why")])
def test_refusals(code: int, words: str) -> None:
    assert words in advice.recipient_advice(code)
