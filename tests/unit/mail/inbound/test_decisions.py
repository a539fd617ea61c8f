"""Which rules a session meets on an internal listener, and what a message keeps of how it came into the site."""

from __future__ import annotations

import pytest

from gatepost.net.engine import client_context
from gatepost.net.stream import LossKind
from gatepost.pki.site.credentials import Admission
from gatepost.policy.decisions.handover import Origin, write_origin
from gatepost.policy.decisions.home import Nodes
from gatepost.protocols.message.srs import SrsKeys
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.tls.profile import PROFILES
from gatepost.values import replace

MX1 = "mx1.contoso.example"
ORIGIN = Origin("contoso", "incoming", "5e55", "0cae", facts={"peer": "192.0.2.99", "connector": "lab"})


@pytest.fixture
def internal(gate):
    """gate with an internal listener; `gate.admission` is what it thinks of whoever comes."""
    gate.admission = Admission(MX1, "", None)

    def between_nodes():
        gate.service = replace(
            gate.service,
            implicit_tls=True,
            extensions=Extensions.within(gate.smtp, starttls=False, origin=True),
            admit=lambda chain: gate.admission,
            nodes=lambda: Nodes("mx2.contoso.example", "contoso-site"),
        )

    gate.between_nodes = between_nodes
    return gate


async def node(gate):
    client = gate.connect()
    client.stream.start_tls(client_context(PROFILES["default"]))
    assert (await client.reply()).startswith("220 ")
    client.send(f"EHLO {MX1}")
    while not (line := await client.reply()).startswith("250 "):
        assert line
    return client


async def test_a_node_hands_over_and_one_session_id_is_known_to_both(internal):
    async with internal.open() as gate:
        gate.between_nodes()
        client = await node(gate)
        assert (
            await client.say(f"MAIL FROM:<eve@far.example> XGATEPOST={write_origin(ORIGIN)}") == "250 2.1.0 Sender OK"
        )
        assert (await client.say("RCPT TO:<ann@contoso.example>"))[:9] == "250 2.1.5"
        assert (await client.say("RCPT TO:<nobody@contoso.example>"))[:9] == "550 5.1.1"
        assert (await client.say("DATA"))[:3] == "354"
        assert (await client.say(b"Subject: x\r\n\r\nhello\r\n.\r\n"))[:9] == "250 2.0.0"
        (delivery,) = gate.offered
        message = delivery.message
        assert (message.organization, message.direction, message.session) == ("contoso", "incoming", "5e55")
        hop = client.session.id
        assert message.inbound["handover"] == {
            "peer": "192.0.2.99",
            "connector": "lab",
            "node": MX1,
            "message": "0cae",
            "session": hop,
        }
        refused, received = gate.traced
        assert (refused.event, refused.session, refused.connector) == ("REFUSE", hop, "internal")
        assert (received.event, received.session, received.connector) == ("RECEIVE", "5e55", "internal")
        assert received.detail["handover"]["session"] == hop


@pytest.mark.parametrize(
    ("facts", "on_premises", "is_notice"),
    [({}, True, False), ({"user": "ann@contoso.example"}, False, False), ({"notice_about": "0caf"}, False, True)],
)
async def test_how_it_came_into_the_site_counts(internal, facts, on_premises, is_notice):
    async with internal.open() as gate:
        gate.between_nodes()
        client = await node(gate)
        sent_on = "joe@contoso.example", "SRS0=x@contoso.example"
        origin = Origin("contoso", "originating", "5e55", "0cae", *sent_on, facts)
        await client.say(f"MAIL FROM:<> XGATEPOST={write_origin(origin)}")
        assert (await client.say("RCPT TO:<joe@far.example>"))[:9] == "250 2.1.5"
        await client.say("DATA")
        await client.say(b"Subject: x\r\n\r\nhello\r\n.\r\n")
        message = gate.offered[0].message
        assert (message.from_on_premises, message.is_notice) == (on_premises, is_notice)
        (recipient,) = gate.offered[0].recipients
        assert (recipient.forwarded_by, recipient.return_path) == sent_on


async def test_what_the_other_node_found_out_of_the_sender_comes_along(internal):
    """The home believes what the firewall of the other node let through, and rewrites with its own key."""
    async with internal.open() as gate:
        gate.between_nodes()
        gate.service.srs = SrsKeys((b"k" * 32,))
        client = await node(gate)
        facts = {"basis": "certificate", "internal": "True", "headers": "2"}
        origin = Origin("contoso", "originating", "5e55", "0cae", facts=facts)
        await client.say(f"MAIL FROM:<eve@far.example> XGATEPOST={write_origin(origin)}")
        assert (await client.say("RCPT TO:<joe@elsewhere.example>"))[:9] == "250 2.1.5"
        await client.say("DATA")
        section = b"X-MS-Exchange-Organization-AuthAs: Internal\r\nSubject: x\r\n"
        await client.say(section + b"\r\nhello\r\n.\r\n")
        (delivery,) = gate.offered
        assert (delivery.message.is_internal, delivery.message.has_organization_headers) == (True, True)
        assert section in delivery.body
        assert delivery.recipients[0].return_path.startswith("SRS0=")
        assert delivery.recipients[0].return_path.endswith("=eve@contoso.example")


async def test_who_is_no_node_is_told_so_once_and_nothing_else(internal):
    async with internal.open() as gate:
        gate.between_nodes()
        gate.admission = Admission("", "its certificate has expired", None)
        client = gate.connect()
        client.stream.start_tls(client_context(PROFILES["default"]))
        client.send("EHLO x.example", "MAIL FROM:<eve@far.example>")
        assert (await client.reply()).startswith("554 5.7.1 This port is for nodes of one site")
        assert (await client.ends()).kind is LossKind.CLOSED
        (row,) = gate.traced
        assert (row.event, row.connector, row.detail["reasons"]) == (
            "REFUSE",
            "internal",
            ["its certificate has expired"],
        )
        assert row.tls_version == "TLSv1.3"


async def test_mail_that_says_nothing_of_where_it_came_from_is_not_taken(internal):
    async with internal.open() as gate:
        gate.between_nodes()
        client = await node(gate)
        assert (await client.say("MAIL FROM:<eve@far.example>"))[:9] == "550 5.7.1"
        assert (await client.say("MAIL FROM:<eve@far.example> XGATEPOST=e30"))[:9] == "501 5.5.4"
        assert (await client.say(f"MAIL FROM:<> XGATEPOST={write_origin(Origin('x', 'incoming'))}"))[:9] == "451 4.3.5"


async def test_elsewhere_it_is_no_parameter_of_mail(gate):
    async with gate.open():
        client = await gate.greeted(gate.hq)
        assert (await client.say("MAIL FROM:<ann@contoso.example> XGATEPOST=e30"))[:3] == "555"
        assert (await client.say("MAIL FROM:<ann@contoso.example>"))[:3] == "250"
