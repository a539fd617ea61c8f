from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatepost.mail.model.message import Message, Recipient
from gatepost.mail.outbound.body import MessageBody
from gatepost.mail.outbound.content import OutgoingMessage
from gatepost.mail.outbound.organization_headers import OrganizationHeaders
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.route import RoutePlanner

BELIEVED: dict[str, Any] = {"headers": {"renamed": 1}}
INTERNAL: dict[str, Any] = {"internal": True}
OWN = b"X-MS-Exchange-Organization-AuthAs: Partner\r\n"
CROSSED = OWN.replace(b"Organization", b"CrossPremises")
FORGED = b"X-OriginatorOrg: evil.example\r\n"
REST = b"Subject: x\r\n\r\n" + OWN
ORIGIN = b"X-OriginatorOrg: contoso.example\r\n"
STAMP = b"X-MS-Exchange-CrossPremises-AuthAs: %s\r\nX-MS-Exchange-CrossPremises-AuthSource: mx1.contoso.example\r\n"
TO_EXCHANGE = {
    "name": "exchange",
    "connector_type": "on-premises",
    "recipient_domains": ["ex.example"],
    "smart_hosts": ["ex1.contoso.example"],
    "cloud_services_mail_enabled": True,
}
RESOURCES: dict[str, Any] = {
    "contoso": {
        "accepted_domain": [
            {"name": "*.contoso.example", "type": "internal-relay"},
            {"name": "contoso.example"},
            {"name": "branch.example"},
        ],
        "mailbox": [{"address": "ann@contoso.example"}],
        "outbound_connector": [
            TO_EXCHANGE,
            {"name": "plain", "connector_type": "on-premises", "recipient_domains": ["plain.example"]},
        ],
    },
    "fabrikam": {
        "accepted_domain": [{"name": "fabrikam.example", "type": "internal-relay"}],
        "mailbox": [{"address": "joe@fabrikam.example"}],
        "outbound_connector": [TO_EXCHANGE | {"recipient_domains": ["fabrikam.example"]}],
    },
}


def made(recipient: str, content: bytes, inbound: dict[str, Any], sender: str = "", small: bool = True) -> Any:
    """The content as it goes, and what the trace shall say; None for both if the body is the very one that came."""
    directory = Directory(parse({"organization": RESOURCES}))
    ((route, recipients),) = RoutePlanner(directory).routes("contoso", [Recipient(recipient)])
    message = Message(1, "contoso", 0.0, sender, inbound=inbound)
    outgoing = OutgoingMessage(directory, "contoso", message, recipients, route)

    async def chunks() -> Any:
        for at in range(0, len(content), 10):
            yield content[at : at + 10]

    async def run() -> Any:
        body = MessageBody(content if small else None, len(content), chunks)
        changed, told = await OrganizationHeaders("mx1.contoso.example").apply(outgoing, body)
        if changed is body:
            return told or None
        whole = b"".join([chunk async for chunk in changed.chunks()])
        assert changed.size == len(whole)
        return whole, told

    return asyncio.run(run())


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize(
    ("content", "inbound", "sender", "expected"),
    [
        # An Exchange said it, another hears it.
        (OWN + REST, BELIEVED, "", ORIGIN + CROSSED + REST),
        # What was stored before there was a firewall was nobody's word.
        (OWN + CROSSED + REST, {}, "", ORIGIN + STAMP % b"Anonymous" + REST),
        (FORGED + REST, {}, "x@b.example", ORIGIN + STAMP % b"Anonymous" + REST),
        (REST, INTERNAL, "a@contoso.example", ORIGIN + STAMP % b"Internal" + REST),
        (REST, INTERNAL, "a@Branch.example",
         ORIGIN.replace(b"contoso", b"branch") + STAMP % b"Internal" + REST),
        (REST, {}, "x@fabrikam.example", ORIGIN + STAMP % b"Anonymous" + REST),
        (b"Subject: all header", {}, "", ORIGIN + STAMP % b"Anonymous" + b"Subject: all header"),
    ],
)  # fmt: skip
def test_what_the_organizations_exchange_is_told(
    content: bytes, inbound: dict[str, Any], sender: str, expected: bytes, small: bool
) -> None:
    whole, told = made("x@ex.example", content, inbound, sender, small)
    assert whole == expected
    assert told["headers"]["cross_premises"] is True


@pytest.mark.parametrize("recipient", ["x@plain.example", "x@b.example", "joe@fabrikam.example", "x@fabrikam.example"])
def test_nobody_else_is_told_anything(recipient: str) -> None:
    """Not even another organization's Exchange, whose connector says that it is one, or its mailboxes here."""
    whole, told = made(recipient, OWN + REST, BELIEVED)
    assert whole == REST
    assert told == {"headers": {"removed": 1}}


@pytest.mark.parametrize(
    ("recipient", "content", "inbound"),
    [
        ("ann@contoso.example", OWN + REST, BELIEVED),  # the organization's own mailbox
        ("Ann@Contoso.Example", OWN + REST, BELIEVED),
        ("x@b.example", REST, {}),
        ("x@b.example", REST, BELIEVED),  # nothing is left of it
        ("x@b.example", REST, INTERNAL),
    ],
)
def test_what_needs_no_change_is_not_touched(recipient: str, content: bytes, inbound: dict[str, Any]) -> None:
    assert made(recipient, content, inbound) is None


def test_a_message_that_nobody_wants_to_know_of_is_not_read() -> None:
    directory = Directory(parse({"organization": RESOURCES}))
    ((route, recipients),) = RoutePlanner(directory).routes("contoso", [Recipient("x@b.example")])
    body = MessageBody(None, 5, None)  # type: ignore[arg-type] # it would raise
    outgoing = OutgoingMessage(directory, "contoso", Message(1, "contoso", 0.0, ""), recipients, route)
    assert asyncio.run(OrganizationHeaders("mx1").apply(outgoing, body)) == (body, {})
