from __future__ import annotations

from typing import Any

import pytest

from gatepost.connectors.match import Directory
from gatepost.connectors.model import parse
from gatepost.policy.outbound import describe
from gatepost.policy.route import LmtpRoute, MailboxRoute, MxRoute, Route, RoutePlanner, SmartHosts, Unroutable
from gatepost.store.interface import Recipient


def directory(**contoso: Any) -> Directory:
    fabrikam = {
        "accepted_domain": [{"name": "fabrikam.example", "type": "internal-relay"}],
        "outbound_connector": [
            {
                "name": "hq",
                "connector_type": "on-premises",
                "all_accepted_domains": True,
                "smart_hosts": ["hq.fabrikam.example:2525", "192.0.2.1"],
                "tls_settings": "domain-validation",
            }
        ],
    }
    own: dict[str, Any] = {
        "accepted_domain": [{"name": "contoso.example"}, {"name": "empty.example"}],
        "mailbox": [
            {"address": "ann@contoso.example"},
            {"address": "eve@contoso.example", "delivery": "lmtp:[2001:db8::1]:24"},
        ],
    }
    return Directory(parse({"organization": {"contoso": own | contoso, "fabrikam": fabrikam}}))


def route(address: str, resources: Directory | None = None, **fields: Any) -> Route:
    planner = RoutePlanner(resources or directory(), fields.pop("profile", "default"))
    found = planner.routes(fields.pop("organization", "contoso"), [Recipient(address)], **fields)
    assert len(found) == 1
    return found[0][0]


def test_recipients_are_grouped_in_their_order() -> None:
    addresses = ["x@b.example", "Ann@contoso.example", "y@B.example", "z@c.example", "eve@contoso.example"]
    found = RoutePlanner(directory()).routes("contoso", [Recipient(address) for address in addresses])
    assert [(type(way), [one.address for one in members]) for way, members in found] == [
        (MxRoute, ["x@b.example", "y@B.example"]),
        (MailboxRoute, ["Ann@contoso.example"]),
        (MxRoute, ["z@c.example"]),
        (LmtpRoute, ["eve@contoso.example"]),
    ]


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("x@B.Example", "b.example"),
        ("x@[192.0.2.1]", "[192.0.2.1]"),
        ("ä@bücher.example", "xn--bcher-kva.example"),
        ("x@empty.example", "empty.example"),
    ],
)
def test_by_mx(address: str, domain: str) -> None:
    found = route(address)
    assert isinstance(found, MxRoute)
    assert (found.domain, found.connector, describe(found.requirement)) == (domain, None, "opportunistic")


def test_mailboxes() -> None:
    found = route("ANN@contoso.example", organization="fabrikam")
    assert isinstance(found, MailboxRoute)
    assert [mailbox.address for mailbox in found.mailboxes] == ["ann@contoso.example"]
    lmtp = route("eve@contoso.example")
    assert isinstance(lmtp, LmtpRoute)
    assert (lmtp.hop.host, lmtp.hop.port) == ("2001:db8::1", 24)


def test_another_organizations_domain_is_routed_as_that_one_says() -> None:
    found = route("x@fabrikam.example")
    assert isinstance(found, SmartHosts)
    assert [(hop.host, hop.port, describe(hop.requirement)) for hop in found.hops] == [
        ("hq.fabrikam.example", 2525, "authenticated(hq.fabrikam.example)"),
        ("192.0.2.1", 25, "authenticated(192.0.2.1)"),
    ]
    assert found.reasons


@pytest.mark.parametrize(
    ("address", "organization", "code"),
    [
        ("nobody@contoso.example", "contoso", "550 5.1.1"),
        ("postmaster", "contoso", "550 5.1.3"),
        ("ä", "contoso", "550 5.1.3"),
        ("x@b.example", "gone", "450 4.3.5"),
    ],
)
def test_unroutable(address: str, organization: str, code: str) -> None:
    found = route(address, organization=organization)
    assert isinstance(found, Unroutable)
    assert found.reply.text.startswith(code)
    assert found.detail


def test_a_domain_is_looked_at_once_and_kept_apart_by_who_sends() -> None:
    planner = RoutePlanner(directory())
    one, again = (planner.routes("contoso", [Recipient("x@b.example")])[0][0] for _ in range(2))
    assert one is again
    assert isinstance(planner.routes("gone", [Recipient("x@b.example")])[0][0], Unroutable)
    for number in range(5100):
        planner.routes("contoso", [Recipient(f"x@n{number}.example")])
    assert len(planner._known) <= 5000


CENTRAL = {
    "name": "all",
    "connector_type": "on-premises",
    "route_all_messages_via_on_premises": True,
    "smart_hosts": ["hq.contoso.example"],
}


@pytest.mark.parametrize(("from_on_premises", "kind"), [(False, SmartHosts), (True, MxRoute)])
def test_central_routing_sends_nothing_back(from_on_premises: bool, kind: type[Route]) -> None:
    resources = directory(outbound_connector=[CENTRAL])
    assert isinstance(route("x@b.example", resources, from_on_premises=from_on_premises), kind)


def test_the_servers_profile_and_a_rehearsal() -> None:
    connector = {"name": "b", "recipient_domains": ["b.example"], "mode": "rehearse", "tls_settings": "encryption-only"}
    found = route("x@b.example", directory(outbound_connector=[connector]), profile="modern")
    assert isinstance(found, MxRoute)
    assert found.requirement.profile == "modern"
    assert found.rehearsed is not None
    assert describe(found.rehearsed) == "encrypted"
