"""Proves that what a TLS session proved for one connector, listener or organization is nothing to another.

A client by tickets of `openssl s_client`, which it offers wherever it comes; the gateway by connections that it keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.clients import TlsRun, openssl_s_client, whole_period
from support.gateway import Gateway
from support.scenes import ALICE, OWN_SERVERS, connector, contoso, message, send

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink
from gatepost.testing.status_server import StatusServer

JOE, MALLORY = "joe@fabrikam.example", "mallory@fabrikam.example"
NAMES = ("mx1.contoso.example", "mx1.fabrikam.example")
TAKEN, UNKNOWN = "250 2.0.0 Queued", "5.7.51"


def partner(anchors: Path, **fields: Any) -> dict[str, Any]:
    """A connector for mail of partner.example, which must come with its certificate."""
    return {
        "name": "partner", "connector_type": "partner", "sender_domains": ["partner.example"], "require_tls": True,
        "restrict_domains_to_certificate": True, "tls_sender_certificate_name": "partner.example",
        "trust_anchors": str(anchors), "revocation_check": "none",
    } | fields  # fmt: skip


def two(own: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Contoso, and fabrikam beside it."""
    fabrikam = {"accepted_domain": [{"name": "fabrikam.example"}], "mailbox": [{"address": JOE}]} | other
    return {"organization": contoso(**own)["organization"] | {"fabrikam": fabrikam}}


class Resuming:
    """A client that proved itself once; later it has its ticket alone."""

    def __init__(self, server: Gateway, session: Path, version: str) -> None:
        self._server = server
        self._session = str(session)
        self._version = version

    def begin(self, certificate: Leaf) -> TlsRun:
        """The one full handshake with the certificate."""
        whole_period()
        return self._bring(ALICE, "-sess_out", self._session, certificate=certificate)

    def resume(self, to: str = ALICE, **fields: Any) -> TlsRun:
        """A message by the ticket, without the certificate."""
        return self._bring(to, "-sess_in", self._session, **fields)

    def _bring(self, to: str, *options: str, port: str = "mx", **fields: Any) -> TlsRun:
        content = message(sender="bob@partner.example")
        lines = ["EHLO partner.example", "MAIL FROM:<bob@partner.example>", f"RCPT TO:<{to}>"]
        said = "\r\n".join([*lines, f"BDAT {len(content)} LAST\r\n"]).encode() + content + b"QUIT\r\n"
        chosen: dict[str, Any] = {"server_name": NAMES[0], "starttls": port == "mx"} | fields
        return openssl_s_client(self._server.ports[port], send=said, options=[self._version, *options], **chosen)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_ticket_proves_nothing_elsewhere(
    gateway: Callable[..., Gateway],
    pki: Pki,
    strange_pki: Pki,
    status_server: StatusServer,
    tmp_path: Path,
    version: str,
) -> None:
    own, theirs = {"inbound": [partner(pki.root)]}, {"inbound_connector": [partner(strange_pki.root)]}
    server = gateway(
        two(own, theirs),
        certificates=[pki.leaf(name) for name in NAMES],
        settings={"server": {"workers": 1}},
        listeners=("mx", "submissions"),
    )
    ours = pki.client("partner.example", crl=status_server.crl)
    client = Resuming(server, tmp_path / "session", version)

    def resumes(to: str = ALICE, **fields: Any) -> str:
        run = client.resume(to, **fields)
        assert run.reused, run.transcript
        return run.transcript

    def changed(own: dict[str, Any], until: Callable[[str], bool]) -> str:
        server.apply(two(own, theirs))
        wait_until(lambda: until(resumes()), "the new configuration")
        return resumes()

    assert TAKEN in client.begin(ours).transcript
    assert TAKEN in resumes(), "the ticket is the client's here"
    for name in NAMES:  # either way the other organization judges by its own anchors
        assert TAKEN in resumes(server_name=name)
        refused = resumes(JOE, server_name=name)
        assert UNKNOWN in refused
        assert TAKEN not in refused
    assert TAKEN not in client.resume(port="submissions").transcript, "another listener, where one logs in"

    pki.revoke(ours)
    revoked = {"inbound": [partner(pki.root, revocation_check="hard-fail")]}
    assert UNKNOWN in changed(revoked, lambda said: TAKEN not in said)
    assert TAKEN in changed(own, lambda said: TAKEN in said), "who does not ask does not mind"
    named = {"inbound": [partner(pki.root, tls_sender_certificate_name="other.example")]}
    assert UNKNOWN in changed(named, lambda said: TAKEN not in said)
    changed({"inbound": []}, lambda said: TAKEN in said)
    strangers = partial(server.trace, event="RECEIVE", recipient=ALICE)
    wait_until(lambda: any(not row["connector"] for row in strangers()), "mail of a stranger, as no connector knows it")


def test_what_a_partner_proved_to_one_organization_is_nothing_to_another(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, strange_pki: Pki
) -> None:
    """The gateway keeps the first one's connection and session; the same host must prove itself to each."""
    bank = sink(certificate=pki.leaf("mx.bank.example"))
    proves = {"tls_settings": "domain-validation", "tls_domain": "mx.bank.example", "trust_anchors": str(pki.root)}
    demands = {
        "name.example": ({"tls_domain": "mx.other.example"}, "certificate-host-mismatch"),
        "root.example": ({"trust_anchors": str(strange_pki.root)}, "certificate-not-trusted"),
    }
    theirs = [connector(domain, bank.address, **proves | demand) for domain, (demand, _) in demands.items()]
    own = {"outbound": [connector("bank.example", bank.address, **proves)]}
    server = gateway(
        two(own, {"inbound_connector": [OWN_SERVERS], "outbound_connector": theirs}),
        settings={"queue": {"retry": ["1h"]}},
    )
    for number, (domain, (_, failure)) in enumerate(demands.items()):
        send(server.port, f"bob{number}@bank.example")  # whose connection is kept
        bank.wait_messages(1 + number)
        send(server.port, f"amy@{domain}", sender=MALLORY)
        (row,) = server.wait_trace(recipient=f"amy@{domain}", event="DEFER")[:1]
        assert row["result_type"] == failure
        assert row["tls"]["resumed"] is False
    assert [one.recipients for one in bank.messages] == [(f"bob{number}@bank.example",) for number in range(2)]
