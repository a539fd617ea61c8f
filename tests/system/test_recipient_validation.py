"""Proves that recipients of relayed domains are known before 250: by a list, by asking the server behind the gateway.

Postfix is the server behind. A stranger's mail to nobody is refused, so that no notice goes to a forged sender.
"""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING, Any

from support.process import wait_until
from support.scenes import ALICE, STRANGER, connector, contoso, message, outcomes, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.gateway import Gateway
    from support.peers import Postfix

    type Start[T] = Callable[..., T]

KNOWN, NOBODY = "known@relay.example", "nobody@relay.example"


def relayed(address: str, /, how: str, **fields: Any) -> dict[str, Any]:
    """contoso, with relay.example on a server of its own behind the gateway."""
    domain = {"name": "relay.example", "type": "internal-relay", "recipient_validation": how} | fields
    return contoso(
        domains=[{"name": "contoso.example"}, domain],
        outbound=[connector("relay.example", address, connector_type="on-premises")],
    )


def refusals(gateway: Gateway) -> dict[str, str]:
    """Why each recipient was refused, by the trace."""
    return {row["recipient"]: row["detail"]["why"] for row in gateway.trace(event="REFUSE", limit="1000")}


def test_a_list_refuses_who_is_not_in_it_whoever_sends(gateway: Start[Gateway], postfix: Start[Postfix]) -> None:
    inner = postfix()
    server = gateway(relayed(inner.address, "list", recipients=["Known@relay.example"]))
    to = [KNOWN, "KNOWN@Relay.Example", NOBODY, ALICE]
    refused = send(server.port, to, sender=STRANGER, content=message("a stranger's"))
    assert refused == {NOBODY: refused[NOBODY]}
    code, text = refused[NOBODY]
    assert (code, text.startswith(b"5.1.1 Recipient address rejected: no such mailbox here [")) == (550, True)
    assert outcomes(server, {KNOWN: "SEND"})[KNOWN]["reply"].startswith("250")
    assert inner.wait_mails(1)[0].field("Subject") == "a stranger's"
    assert "is not in the recipient list of relay.example" in refusals(server)[NOBODY]
    # nobody wrote a notice: the only mail of the gateway's own is what ALICE got
    assert [mail.field("Subject") for mail in server.maildir(ALICE)] == ["a stranger's"]

    explained = server.cli("explain", "--from", STRANGER, "--to", NOBODY, "--ip", "192.0.2.7", json=True, expect=None)
    assert explained.data["inbound"]["reply"].startswith("550 5.1.1")
    assert "recipient list of relay.example (configuration 1)" in explained.data["inbound"]["reasons"][-1]

    with smtplib.SMTP("127.0.0.1", server.port) as client:  # a session keeps the resources that it began with
        server.cli("domain", "set", "relay.example", "--organization", "contoso", f"recipients={NOBODY}")
        client.ehlo("client.example")
        client.mail(STRANGER)
        assert client.rcpt(KNOWN)[0] == 250
    wait_until(lambda: set(send(server.port, [KNOWN, NOBODY], sender=STRANGER)) == {KNOWN}, "the new list")
