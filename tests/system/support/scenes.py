"""The organization that the system tests play with, and the shortest way to send a message to a gateway.

Contoso has the domain contoso.example. Its own servers are known by their address, 127.0.0.1, together with a sender of
the domain: a test relays with alice@contoso.example and is a stranger with anybody else.
"""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

from support.gateway import Gateway

ALICE = "alice@contoso.example"
STRANGER = "mallory@elsewhere.example"

OWN_SERVERS: dict[str, Any] = {
    "name": "own servers",
    "connector_type": "on-premises",
    "sender_ip_addresses": ["127.0.0.1/32"],
}


def contoso(
    *,
    domains: Sequence[dict[str, Any]] = ({"name": "contoso.example"},),
    mailboxes: Sequence[str] = (ALICE, "ann@contoso.example"),
    inbound: Sequence[dict[str, Any]] = (OWN_SERVERS,),
    outbound: Sequence[dict[str, Any]] = (),
    **fields: Any,
) -> dict[str, Any]:
    """Resources with this one organization."""
    organization = {
        **fields,
        "accepted_domain": list(domains),
        "mailbox": [{"address": address} for address in mailboxes],
        "inbound_connector": list(inbound),
        "outbound_connector": list(outbound),
    }
    return {"organization": {"contoso": {name: value for name, value in organization.items() if value}}}


def connector(domain: str, *smart_hosts: str, **fields: Any) -> dict[str, Any]:
    """An outbound connector named after its domain; without smart hosts it routes by MX."""
    route: dict[str, Any] = {"smart_hosts": list(smart_hosts)} if smart_hosts else {}
    return {"name": domain, "recipient_domains": [domain]} | route | fields


def message(subject: str = "test", body: str = "Hello.", *, sender: str = ALICE) -> bytes:
    """A small message, lines ending in CRLF."""
    return f"From: <{sender}>\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()


def send(
    port: int,
    to: str | Sequence[str],
    *,
    sender: str = ALICE,
    content: bytes | None = None,
    tls: bool = False,
    mail: Sequence[str] = (),
    rcpt: Sequence[str] = (),
    source: str = "127.0.0.1",
    timeout: float = 60,
) -> dict[str, tuple[int, bytes]]:
    """Send one message with Python's smtplib and return the refused recipients.

    smtplib's exceptions tell of everything else. mail, rcpt: parameters of MAIL and of each RCPT. tls: STARTTLS first,
    any certificate accepted. source: the address that it comes from.
    """
    with smtplib.SMTP("127.0.0.1", port, "client.example", timeout, source_address=(source, 0)) as client:
        if tls:
            client.starttls(context=blind_context())
        recipients = [to] if isinstance(to, str) else list(to)
        return client.sendmail(sender, recipients, content or message(sender=sender), list(mail), list(rcpt))


def blind_context() -> ssl.SSLContext:
    """A TLS client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def outcomes(gateway: Gateway, wanted: Mapping[str, str], *, timeout: float = 60) -> dict[str, dict[str, Any]]:
    """The trace's row for each recipient's event, asked for all at once: rows reach the disk within a second.

    wanted: recipient -> event (each once). What has not come within `timeout` seconds is left out, and fails its test.
    """
    end = time.monotonic() + timeout
    while True:
        rows = {(row.get("recipient"), row["event"]): row for row in gateway.trace(limit="10000")}
        found = {recipient: rows[recipient, event] for recipient, event in wanted.items() if (recipient, event) in rows}
        if len(found) == len(wanted) or time.monotonic() > end:
            return found
        time.sleep(0.2)
