from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.records import Mailbox, OutboundConnector
from gatepost.policy.connectors.values import Cleartext
from gatepost.policy.decisions.asking import mx_stand_in, with_message_request
from gatepost.policy.decisions.home import Nodes
from gatepost.policy.decisions.outbound import describe
from gatepost.policy.decisions.requirement import Authenticated, Identity, MxLevel, Opportunistic, Requirement, Source
from gatepost.policy.decisions.requiretls import Asks
from gatepost.policy.decisions.routes import (
    InternalRoute,
    LmtpRoute,
    MailboxRoute,
    MxRoute,
    NextHop,
    Route,
    SmartHosts,
    Unroutable,
)
from gatepost.protocols.smtp.replies import Reply

OPPORTUNISTIC = Opportunistic((Source("default"),))
NOWHERE = Unroutable(Reply(550, "5.1.3", ("The address has no domain",)), "no domain")
MAILBOX = MailboxRoute((Mailbox(address="a@a.example"),))


def connector(**fields: Any) -> OutboundConnector:
    return OutboundConnector.model_validate({"name": "out", "recipient_domains": ["b.example"], **fields})


def smart_hosts(*hosts: str, requirement: Requirement = OPPORTUNISTIC, **fields: Any) -> SmartHosts:
    hops = tuple(NextHop(host, 25, requirement) for host in hosts)
    return SmartHosts(connector(**fields), hops, ("by domain",), (("connector 'x' of o", "is wider"),))


def mx(requirement: Requirement = OPPORTUNISTIC, **fields: Any) -> MxRoute:
    return MxRoute("b.example", connector(**fields), requirement, None, ("by domain",))


@pytest.mark.parametrize("route", [smart_hosts("a.example"), mx(), MAILBOX, NOWHERE])
def test_who_asks_nothing_gets_the_route_as_it_is(route: Route) -> None:
    assert with_message_request(route, Asks.NOTHING) is route


@pytest.mark.parametrize("asks", [Asks.REQUIRED, Asks.WAIVED])
@pytest.mark.parametrize("route", [MAILBOX, NOWHERE])
def test_where_there_is_no_hop_nothing_is_asked(route: Route, asks: Asks) -> None:
    assert with_message_request(route, asks) is route


def test_mx_hosts_must_be_known_and_prove_their_name() -> None:
    found = with_message_request(mx(smtp_dane_mode="mandatory"), Asks.REQUIRED)
    assert isinstance(found, MxRoute)
    assert isinstance(found.requirement, Authenticated)
    assert found.requirement.mx is MxLevel.MTA_STS
    assert describe(found.requirement) == f"authenticated({mx_stand_in('b.example')}) with requiretls"
    assert found.reasons[0] == "by domain"
    assert "offer REQUIRETLS" in found.reasons[1]


def test_an_address_literal_has_no_name_to_prove() -> None:
    found = with_message_request(MxRoute("[192.0.2.1]", None, OPPORTUNISTIC, None, ("nobody's",)), Asks.REQUIRED)
    assert isinstance(found, Unroutable)
    assert (found.reply.enhanced, found.reasons) == ("5.7.10", ("nobody's",))


def test_a_relaxed_connector_says_so() -> None:
    found = with_message_request(mx(requiretls_mode="relaxed"), Asks.REQUIRED)
    assert isinstance(found, MxRoute)
    assert describe(found.requirement) == f"authenticated({mx_stand_in('b.example')})"
    assert found.reasons[-1] == "relaxed: connector 'out' sends where it is not offered"


def test_smart_hosts_that_can_never_prove_a_name_are_left_out() -> None:
    found = with_message_request(smart_hosts("a.example", "192.0.2.1", "b.example"), Asks.REQUIRED)
    assert isinstance(found, SmartHosts)
    assert [(hop.host, describe(hop.requirement)) for hop in found.hops] == [
        ("a.example", "authenticated(a.example) with requiretls"),
        ("b.example", "authenticated(b.example) with requiretls"),
    ]


def test_without_a_host_that_can_there_is_no_way() -> None:
    found = with_message_request(smart_hosts("192.0.2.1"), Asks.REQUIRED)
    assert isinstance(found, Unroutable)
    assert found.reply.text.startswith("550 5.7.10 Encryption needed (REQUIRETLS) [Message=HostHasNoName")
    assert (found.reasons, found.passed_over) == (("by domain",), (("connector 'x' of o", "is wider"),))
    named = smart_hosts("192.0.2.1", requirement=Authenticated((), (Identity(("a.example",)),)))
    assert isinstance(with_message_request(named, Asks.REQUIRED), SmartHosts)


def test_tls_required_no_is_told() -> None:
    found = with_message_request(mx(), Asks.WAIVED)
    assert isinstance(found, MxRoute)
    assert isinstance(found.requirement, Opportunistic)
    assert found.requirement.cleartext is Cleartext.AFTER_FAILED_HANDSHAKE
    assert found.reasons[-1].startswith("TLS-Required: No lets")
    kept = mx(cleartext="only-if-not-offered")
    assert with_message_request(kept, Asks.WAIVED) == kept


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("127.0.0.1", "opportunistic"),
        ("::1", "opportunistic"),
        ("localhost", "opportunistic"),
        ("mail.example", "authenticated(mail.example) with requiretls"),
        ("192.0.2.1", "550 5.7.10"),
    ],
)
def test_a_delivery_agent_elsewhere_must_do_as_others(host: str, text: str) -> None:
    found = with_message_request(LmtpRoute(NextHop(host, 24, OPPORTUNISTIC)), Asks.REQUIRED)
    if isinstance(found, Unroutable):
        assert found.reply.text.startswith(text)
    else:
        assert isinstance(found, LmtpRoute)
        assert describe(found.hop.requirement) == text


def test_a_node_of_the_site_must_offer_requiretls_and_never_does_less() -> None:
    requirement = Nodes("mx1.a.example", "a-site").requirement("mx2.a.example", "default")
    route = InternalRoute(NextHop("mx2.a.example", 8445, requirement), ("o lives on the node mx2.a.example",))
    asked = with_message_request(route, Asks.REQUIRED)
    assert isinstance(asked, InternalRoute)
    assert describe(asked.hop.requirement) == "authenticated(spiffe://a-site/node/mx2.a.example) with requiretls"
    assert with_message_request(route, Asks.WAIVED) == route
