from __future__ import annotations

from typing import Any

import pytest

from gatepost.mail.outbound.record import connector_record, hop_record, origin_of
from gatepost.policy.connectors.records import OutboundConnector
from gatepost.policy.decisions.handover import read_origin
from gatepost.policy.decisions.parties import SenderPart
from gatepost.policy.decisions.requirement import Opportunistic
from gatepost.policy.decisions.routes import MxRoute
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

NOTHING = Opportunistic(())


def test_a_node_is_told_whose_mail_it_is_and_how_it_came(kit: Any) -> None:
    inbound = {
        "peer": "192.0.2.1",
        "hello": "client.example",
        "connector": "partner",
        "requirement": "encrypted",
        "tls": {"version": "TLSv1.3", "certificate": {"names": ["x" * 9999]}},
        "reasons": ["not carried"],
    }
    delivery = kit.delivery(session="5e55", direction="incoming", inbound=inbound)
    delivery.recipients[0].forwarded_by = "ken@contoso.example"
    delivery.recipients[0].return_path = "SRS0=x@contoso.example"
    found = read_origin(origin_of(delivery))
    assert (found.organization, found.direction, found.session) == ("contoso", "incoming", "5e55")
    assert found.message == "0000000000000007"
    assert (found.forwarded_by, found.return_path) == ("ken@contoso.example", "SRS0=x@contoso.example")
    assert found.facts == {
        "peer": "192.0.2.1",
        "hello": "client.example",
        "connector": "partner",
        "requirement": "encrypted",
        "tls": "TLSv1.3",
    }


def test_what_was_found_out_of_the_sender_goes_along(kit: Any) -> None:
    inbound = {"internal": True, "headers": {"renamed": 2, "removed": 0}, "basis": "certificate"}
    facts = read_origin(origin_of(kit.delivery(inbound=inbound))).facts
    assert facts == {"internal": "True", "basis": "certificate", "headers": "2"}
    assert read_origin(origin_of(kit.delivery(inbound={"headers": {"removed": 1}}))).facts == {}


def test_a_notice_stays_one(kit: Any) -> None:
    delivery = kit.delivery(reverse_path="", inbound={"notice_about": "0caf", "notice_about_message_id": "<1@x>"})
    assert read_origin(origin_of(delivery)).facts == {"notice_about": "0caf", "notice_about_message_id": "<1@x>"}


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (
            ("Queued as 0caeb5 [mx2.a.example 2026-11-26T19:01:01.371Z 9d4562b7]",),
            {"message": "0caeb5", "session": "9d4562b7"},
        ),
        (("Rejected [mx2.a.example 2026-11-26T19:01:01.371Z 9d4562b7]",), {"session": "9d4562b7"}),
        (("Connection was closed abruptly",), {}),
    ],
)
def test_under_which_ids_the_other_node_knows_it(lines: tuple[str, ...], found: dict[str, str]) -> None:
    assert hop_record("mx2.a.example", Reply(250, "2.0.0", lines)) == {"node": "mx2.a.example"} | found


def test_the_connector_of_a_route_is_named_with_its_owner_if_that_is_another() -> None:
    connector = OutboundConnector(name="bank", recipient_domains=("b.example",))
    assert connector_record(MxRoute("b.example", None, NOTHING)) == {}
    own = MxRoute("b.example", connector, NOTHING, connector_owner="contoso")
    assert connector_record(own) == {"connector": "bank"}
    others = replace(own, sender=SenderPart("fabrikam", None))
    assert connector_record(others) == {"connector": "bank", "connector_organization": "contoso"}
