from __future__ import annotations

from typing import Any

import pytest

from gatepost.mail.model.message import Recipient
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.grants import mark
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.names import SmartHost
from gatepost.policy.decisions.content import NO_DEMAND
from gatepost.policy.decisions.home import Nodes
from gatepost.policy.decisions.outbound import describe
from gatepost.policy.decisions.requirement import Authenticated, Source
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.policy.decisions.routes import (
    InternalRoute,
    LmtpRoute,
    MailboxRoute,
    MxRoute,
    Route,
    SmartHosts,
    Unroutable,
)
from gatepost.values import replace


def directory(fabrikam_rules: list[dict[str, Any]] | None = None, **contoso: Any) -> Directory:
    fabrikam: dict[str, Any] = {
        "mail_flow_rule": fabrikam_rules or [],
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
    return Directory(parse({"organization": {"contoso": own | contoso, "fabrikam": fabrikam}}), 7)


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


def test_a_name_that_is_not_known_is_no_weaker_demand() -> None:
    """No document can say so; whoever makes resources by other means is not taken at less than they ask for."""
    nameless = {"name": "b", "recipient_domains": ["*"], "tls_settings": "domain-validation"}
    found = route("x@b.example", directory(outbound_connector=[nameless | {"smart_hosts": [SmartHost("")]}]))
    assert isinstance(found, Unroutable)
    assert found.reply.text == "450 4.3.5 The connector expects a name that is not known"
    assert "no name to expect is known" in found.detail
    assert found.reasons == ("connector 'b' of contoso matches recipient domain b.example by '*'",)


def test_a_domain_is_looked_at_once_and_kept_apart_by_who_sends() -> None:
    planner = RoutePlanner(directory())
    one, again = (planner.routes("contoso", [Recipient("x@b.example")])[0][0] for _ in range(2))
    assert one is again
    assert isinstance(planner.routes("gone", [Recipient("x@b.example")])[0][0], Unroutable)
    for number in range(5100):
        planner.routes("contoso", [Recipient(f"x@n{number}.example")])
    assert len(planner._known) <= 5000


def test_an_envelope_that_comes_again_is_not_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = RoutePlanner(directory(outbound_connector=[CENTRAL]))
    asked: dict[str, Any] = {"from_on_premises": False, "notice": False, "reverse_path": "ann@contoso.example"}
    first = planner.routes("contoso", [Recipient("x@b.example")], **asked)[0][0]
    planned: list[object] = []
    grouped = planner._grouped
    monkeypatch.setattr(planner, "_grouped", lambda *mail: planned.append(mail) or grouped(*mail))
    again = Recipient("x@b.example")
    assert planner.routes("contoso", [again], **asked) == [(first, [again])]
    assert not planned
    planner.routes("contoso", [Recipient("x@b.example"), Recipient("y@b.example")], **asked)
    planner.routes("contoso", [again], content=Content({"subject": ("x",)}), **asked)
    assert len(planned) == 2
    came_back = planner.routes("contoso", [again], **asked | {"from_on_premises": True})[0][0]
    assert (type(first), type(came_back)) == (SmartHosts, MxRoute)


def test_the_envelopes_that_are_known_stay_few_and_none_is_that_of_a_mailbox() -> None:
    planner = RoutePlanner(directory())
    planner.routes("contoso", [Recipient("ann@contoso.example")])
    planner.routes("contoso", [Recipient("eve@contoso.example")])
    assert not planner._repeated
    for number in range(2100):
        planner.routes("contoso", [Recipient(f"x{number}@b.example")])
    assert 0 < len(planner._repeated) <= 2000


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


def test_a_route_says_who_was_passed_over() -> None:
    exact = {"name": "b", "recipient_domains": ["b.example"]}
    found = route("x@b.example", directory(outbound_connector=[exact, {"name": "all", "recipient_domains": ["*"]}]))
    assert isinstance(found, MxRoute)
    assert found.passed_over == (
        ("connector 'all' of contoso", "matches recipient domain b.example by '*', but 'b' is more specific"),
    )


def test_mail_from_another_organizations_servers_came_from_elsewhere() -> None:
    """What fabrikam's servers bring for contoso goes to contoso's as any mail from outside."""
    resources = directory(outbound_connector=[CENTRAL], accepted_domain=[{"name": "c.example"}], mailbox=[])
    assert isinstance(route("x@c.example", resources, organization="fabrikam", from_on_premises=True), SmartHosts)
    assert isinstance(route("x@c.example", resources, from_on_premises=True), MxRoute)


# Mail flow rules

HUB = {"name": "Hub", "is_transport_rule_scoped": True, "smart_hosts": ["hub.example"]}
SECRET = {"name": "secret", "senders": ["ann@contoso.example"], "require_tls": True}
TO_HUB = {"name": "to-hub", "recipients": ["x@b.example"], "route_via_connector": "hub"}


def with_rules(*rules: dict[str, Any], **contoso: Any) -> Directory:
    connectors = contoso.pop("outbound_connector", [])
    return directory(outbound_connector=[HUB, *connectors], mail_flow_rule=list(rules), **contoso)


@pytest.mark.parametrize(
    ("reverse_path", "requirement", "sources"),
    [
        ("ann@contoso.example", "encrypted", ["rule:secret"]),
        ("bob@contoso.example", "opportunistic", ["default"]),
        ("", "opportunistic", ["default"]),
    ],
)
def test_a_rule_requires_tls_by_sender(reverse_path: str, requirement: str, sources: list[str]) -> None:
    found = route("x@b.example", with_rules(SECRET), reverse_path=reverse_path)
    assert isinstance(found, MxRoute)
    assert describe(found.requirement) == requirement
    assert [str(source) for source in found.requirement.sources] == sources
    assert found.by_rule is (requirement == "encrypted")
    assert found.rehearsed is None


def test_a_rule_adds_to_what_a_connector_requires_and_takes_nothing() -> None:
    connector = {"name": "b", "recipient_domains": ["b.example"], "tls_settings": "domain-validation"}
    resources = with_rules(SECRET, outbound_connector=[connector])
    found = route("x@b.example", resources, reverse_path="ann@contoso.example")
    assert isinstance(found, MxRoute)
    assert describe(found.requirement) == "authenticated(b.example)"
    assert [str(source) for source in found.requirement.sources] == ["connector:b", "rule:secret"]
    assert found.reasons == (
        "mail flow rule 'secret' of contoso matches the sender: requires TLS",
        "connector 'b' of contoso matches recipient domain b.example exactly",
    )


def test_o7_a_rule_sends_mail_by_the_connector_that_it_names() -> None:
    resources = with_rules(TO_HUB, outbound_connector=[{"name": "all", "recipient_domains": ["*"]}])
    found = route("x@b.example", resources)
    assert isinstance(found, SmartHosts)
    assert (found.connector.name, found.hops[0].host, found.by_rule) == ("Hub", "hub.example", True)
    assert found.reasons == ("mail flow rule 'to-hub' of contoso matches the recipient: sends it by connector 'Hub'",)
    assert found.passed_over == (
        ("connector 'all' of contoso", "is the choice by domain, but mail flow rule 'to-hub' goes before it"),
    )
    other = route("y@b.example", resources)
    assert isinstance(other, MxRoute)
    assert other.connector is not None
    assert (other.connector.name, other.passed_over, other.by_rule) == ("all", (), False)


def test_a_rule_may_name_the_connector_that_the_domain_would_have_chosen() -> None:
    named = {"name": "b", "recipient_domains": ["b.example"]}
    resources = with_rules(TO_HUB | {"route_via_connector": "B"}, outbound_connector=[named])
    found = route("x@b.example", resources)
    assert isinstance(found, MxRoute)
    assert found.connector is not None
    assert (found.connector.name, found.passed_over, found.by_rule) == ("b", (), True)


def test_mail_waits_while_the_connector_that_a_rule_names_is_disabled() -> None:
    resources = directory(outbound_connector=[HUB | {"enabled": False}], mail_flow_rule=[TO_HUB])
    found = route("x@b.example", resources)
    assert isinstance(found, Unroutable)
    assert found.reply.text == "450 4.3.5 The connector that a mail flow rule names is disabled"
    assert found.detail == "connector 'Hub' of contoso is disabled; enable it, or change the mail flow rule"
    assert "rule 'to-hub'" in found.reasons[0]


def test_recipients_with_other_rules_travel_apart() -> None:
    rules = [TO_HUB, SECRET | {"recipients": ["y@b.example", "z@b.example"], "senders": []}]
    recipients = [Recipient(f"{name}@b.example") for name in "wxyz"]
    found = RoutePlanner(with_rules(*rules)).routes("contoso", recipients)
    assert [(type(way), [one.address[0] for one in members]) for way, members in found] == [
        (MxRoute, ["w"]),
        (SmartHosts, ["x"]),
        (MxRoute, ["y", "z"]),
    ]


def test_a_rehearsing_rule_is_only_told() -> None:
    rules = [SECRET | {"mode": "rehearse"}, TO_HUB | {"mode": "rehearse"}]
    found = route("x@b.example", with_rules(*rules), reverse_path="ann@contoso.example")
    assert isinstance(found, MxRoute)
    assert (describe(found.requirement), found.by_rule) == ("opportunistic", False)
    assert found.rehearsed is not None
    assert describe(found.rehearsed) == "encrypted"
    assert [str(source) for source in found.rehearsed.sources] == ["rule:secret"]
    assert "(in rehearsal) matches the recipient: would send it by connector 'Hub'" in found.reasons[1]


def test_a_rehearsal_is_of_all_that_would_be_required() -> None:
    connector = {
        "name": "b",
        "recipient_domains": ["b.example"],
        "mode": "rehearse",
        "tls_settings": "domain-validation",
    }
    rules = [SECRET, SECRET | {"name": "trial", "mode": "rehearse"}]
    found = route("x@b.example", with_rules(*rules, outbound_connector=[connector]), reverse_path="ann@contoso.example")
    assert isinstance(found, MxRoute)
    assert found.rehearsed is not None
    assert (describe(found.requirement), describe(found.rehearsed)) == ("encrypted", "authenticated(b.example)")
    assert [str(source) for source in found.requirement.sources] == ["rule:secret"]
    assert [str(source) for source in found.rehearsed.sources] == ["connector:b", "rule:secret", "rule:trial"]


def test_rules_hold_for_mail_that_is_sent_on_and_not_for_mailboxes() -> None:
    resources = with_rules(SECRET | {"senders": []}, TO_HUB | {"recipients": []})
    assert isinstance(route("ann@contoso.example", resources), MailboxRoute)
    lmtp = route("eve@contoso.example", resources)
    assert isinstance(lmtp, LmtpRoute)
    assert [str(source) for source in lmtp.hop.requirement.sources] == ["internal:lmtp"]
    assert isinstance(route("nobody@contoso.example", resources), Unroutable)


def test_tls_is_required_by_the_rules_of_either_organization_but_the_way_by_the_owners_alone() -> None:
    theirs = [{"name": "in", "recipients": ["fabrikam.example"], "require_tls": True, "mode": "enforce"}]
    resources = with_rules(SECRET, TO_HUB | {"recipients": []}, fabrikam_rules=theirs)
    found = route("x@fabrikam.example", resources, reverse_path="ann@contoso.example")
    assert isinstance(found, SmartHosts)
    assert found.connector.name == "hq"
    assert [str(source) for source in found.hops[0].requirement.sources] == [
        "connector:hq of fabrikam",
        "rule:in of fabrikam",
        "rule:secret",
    ]
    assert (
        "connector 'Hub' of contoso does not carry it, as fabrikam accepts the domain and decides where its mail goes; "
        "the connector's demands apply"
    ) in found.reasons
    back = route("x@fabrikam.example", resources, organization="fabrikam")
    assert isinstance(back, SmartHosts)
    assert [str(source) for source in back.hops[0].requirement.sources] == ["connector:hq", "rule:in"]
    assert isinstance(route("x@b.example", resources, organization="gone"), Unroutable)


def test_mail_that_never_leaves_in_clear_does_not_by_another_organizations_way_either() -> None:
    """`cleartext = "never"` holds for the mail of the organization, its own connectors' exceptions aside."""
    weak = {"name": "hq", "recipient_domains": ["*"], "smart_hosts": ["hub"], "cleartext": "after-failed-handshake"}
    fabrikam = {"accepted_domain": [{"name": "fabrikam.example"}], "outbound_connector": [weak]}
    resources = Directory(parse({"organization": {"contoso": {"cleartext": "never"}, "fabrikam": fabrikam}}))
    found = route("x@fabrikam.example", resources)
    assert isinstance(found, SmartHosts)
    (hop,) = found.hops
    assert (describe(hop.requirement), [str(source) for source in hop.requirement.sources]) == (
        "encrypted",
        ["organization:contoso"],
    )
    assert not found.by_rule
    own = route("x@fabrikam.example", resources, organization="fabrikam")
    assert isinstance(own, SmartHosts)
    assert describe(own.hops[0].requirement) == "opportunistic"
    planner = RoutePlanner(resources)
    asked = {
        one: planner.asking_for_tls(one, "x@fabrikam.example", reverse_path="", content=Content())
        for one in ("contoso", "fabrikam", "gone")
    }
    assert asked == {"contoso": (Source("organization", "contoso"),), "fabrikam": (), "gone": ()}


def test_who_asks_for_tls_is_told_for_a_recipient() -> None:
    planner = RoutePlanner(with_rules(SECRET))

    def asking(address: str, organization: str = "contoso") -> tuple[Source, ...]:
        reverse_path = "ann@contoso.example"
        return planner.asking_for_tls(organization, address, reverse_path=reverse_path, content=Content())

    assert asking("x@b.example") == (Source("rule", "secret"),)
    assert asking("ann@contoso.example") == ()
    assert asking("x@b.example", "gone") == ()


def test_a_rule_sends_nothing_back_to_where_it_came_from() -> None:
    rule = {"name": "home", "senders": ["contoso.example"], "route_via_connector": "all"}
    resources = with_rules(rule, outbound_connector=[CENTRAL])
    out = route("x@b.example", resources, reverse_path="ann@contoso.example")
    assert isinstance(out, SmartHosts)
    back = route("x@b.example", resources, reverse_path="ann@contoso.example", from_on_premises=True)
    assert isinstance(back, MxRoute)
    assert back.connector is None
    assert back.passed_over == (
        ("connector 'all' of contoso", "is named by mail flow rule 'home', but this message came from there"),
    )


HEADER = {"name": "marked", "header_name": "X-Confidential", "require_tls": True}


@pytest.mark.parametrize(
    ("header", "requirement"), [({}, "opportunistic"), ({"x-confidential": ("yes",)}, "encrypted")]
)
def test_a_rule_asks_for_a_field(header: dict[str, tuple[str, ...]], requirement: str) -> None:
    found = route("x@b.example", with_rules(HEADER), content=Content(header))
    assert isinstance(found, MxRoute)
    assert describe(found.requirement) == requirement


@pytest.mark.parametrize(
    ("address", "organization", "names"),
    [
        ("x@b.example", "contoso", {"x-confidential"}),
        ("x@b.example", "fabrikam", set()),
        ("x@fabrikam.example", "contoso", {"x-confidential"}),
        ("ann@contoso.example", "contoso", set()),
    ],
)
def test_the_header_is_asked_for_only_where_a_rule_needs_it(address: str, organization: str, names: set[str]) -> None:
    planner = RoutePlanner(with_rules(HEADER))
    assert planner.header_names(organization, [Recipient(address)]) == names
    assert RoutePlanner(with_rules(SECRET)).header_names(organization, [Recipient(address)]) == frozenset()


@pytest.mark.parametrize(
    ("organization", "domain", "depends"),
    [
        ("contoso", "b.example", True),
        ("fabrikam", "b.example", False),
        ("contoso", "fabrikam.example", True),
        ("fabrikam", "contoso.example", True),
    ],
)
def test_where_routes_depend_on_the_message(organization: str, domain: str, depends: bool) -> None:
    assert RoutePlanner(with_rules(SECRET)).depends_on_message(organization, domain) is depends


def test_routes_to_a_domain_with_mailboxes_depend_on_the_recipient() -> None:
    planner = RoutePlanner(directory())
    assert planner.depends_on_message("contoso", "contoso.example")
    assert not planner.depends_on_message("contoso", "b.example")


def test_where_an_organization_lives_elsewhere_routes_depend_on_the_message() -> None:
    """A notice leaves here, other mail at its home."""
    planner = RoutePlanner(directory(home="mx2.contoso.example"), nodes=Nodes("mx1.contoso.example", "site"))
    assert planner.depends_on_message("fabrikam", "b.example")


def test_the_cache_tells_rules_apart_and_stays_small() -> None:
    planner = RoutePlanner(with_rules(SECRET))

    def ask(sender: str, address: str = "x@b.example") -> Route:
        return planner.routes("contoso", [Recipient(address)], reverse_path=sender)[0][0]

    assert ask("ann@contoso.example") is ask("ANN@contoso.example")
    assert ask("bob@contoso.example") is ask("eve@contoso.example")
    assert ask("bob@contoso.example") is not ask("ann@contoso.example")
    for number in range(5100):
        ask("ann@contoso.example", f"x@n{number}.example")
    assert len(planner._known) <= 5000


@pytest.mark.parametrize(
    ("delivery", "place", "requirement"),
    [
        ("lmtp:127.0.0.1:24", "127.0.0.1:24", "opportunistic"),
        ("lmtp:localhost:24", "localhost:24", "opportunistic"),
        ("lmtp:[::1]:24", "[::1]:24", "opportunistic"),
        ("lmtp:unix:/run/dovecot/lmtp", "unix:/run/dovecot/lmtp", "opportunistic"),
        # between machines it must prove that it is the one that was named
        ("lmtp:store.contoso.example:24", "store.contoso.example:24", "authenticated(store.contoso.example)"),
        ("lmtp:[2001:db8::1]:24", "[2001:db8::1]:24", "authenticated(2001:db8::1)"),
    ],
)
def test_an_lmtp_server_elsewhere_must_prove_who_it_is(delivery: str, place: str, requirement: str) -> None:
    found = route("eve@contoso.example", directory(mailbox=[{"address": "eve@contoso.example", "delivery": delivery}]))
    assert isinstance(found, LmtpRoute)
    assert found.hop.place == place
    assert describe(found.hop.requirement) == requirement


def test_an_lmtp_server_is_told_the_mailbox_and_not_the_alias() -> None:
    box = {"address": "eve@contoso.example", "aliases": ["info@contoso.example"], "delivery": "lmtp:127.0.0.1:24"}
    planner = RoutePlanner(directory(mailbox=[box], subaddress_separator="+"))
    recipients = [Recipient(f"{name}@contoso.example") for name in ("Eve", "info", "eve+tag", "info+tag")]
    ((found, members),) = planner.routes("contoso", recipients)
    assert isinstance(found, LmtpRoute)
    assert members == recipients
    assert [path.partition("@")[0] for path in found.forward_paths] == ["Eve", "eve", "eve+tag", "eve+tag"]


def test_what_is_asked_of_the_content_is_of_the_connector_and_of_rules() -> None:
    partner = {"name": "p", "recipient_domains": ["b.example"], "smart_hosts": ["h.example"], "encrypt": "smime"}
    rule = {"name": "all", "senders": ["ann@contoso.example"], "encrypt": "smime", "sign": "smime"}
    resources = with_rules(rule, outbound_connector=[partner])
    asked = route("x@b.example", resources, reverse_path="ann@contoso.example")
    assert isinstance(asked, SmartHosts)
    assert [str(source) for source in asked.content.encrypt.required] == ["connector:p", "rule:all"]
    assert [str(source) for source in asked.content.sign.required] == ["rule:all"]
    elsewhere = route("x@d.example", resources, reverse_path="ann@contoso.example")
    assert isinstance(elsewhere, MxRoute)
    assert [str(source) for source in elsewhere.content.encrypt.required] == ["rule:all"]


@pytest.mark.parametrize(
    ("recipients", "sender", "secret"),
    [
        (["x@b.example"], "bob@contoso.example", True),
        (["x@d.example"], "bob@contoso.example", False),
        (["x@d.example", "x@b.example"], "bob@contoso.example", True),
        (["x@d.example"], "ann@contoso.example", True),
        (["ann@contoso.example"], "ann@contoso.example", False),  # it does not leave
        (["x@off.example"], "off@contoso.example", True),  # nor does this, until its connector is enabled
    ],
)
def test_whether_content_must_leave_encrypted(recipients: list[str], sender: str, secret: bool) -> None:
    resources = with_rules(
        {"name": "all", "senders": ["ann@contoso.example"], "encrypt": "smime"},
        {"name": "off", "senders": ["off@contoso.example"], "encrypt": "smime", "route_via_connector": "off"},
        outbound_connector=[
            {"name": "p", "recipient_domains": ["b.example"], "encrypt": "smime"},
            {"name": "off", "is_transport_rule_scoped": True, "smart_hosts": ["h.example"], "enabled": False},
        ],
    )
    addressed = [Recipient(one) for one in recipients]
    assert RoutePlanner(resources).encrypts("contoso", addressed, reverse_path=sender) is secret


NODES = Nodes("mx1.contoso.example", "contoso-site", {"mx3.contoso.example": ("192.0.2.3", 2600)})
AWAY = "mx2.contoso.example"


@pytest.mark.parametrize(
    ("address", "organization", "home"),
    [
        ("ann@contoso.example", "contoso", AWAY),  # a mailbox
        ("nobody@contoso.example", "contoso", AWAY),  # there it is found out that it is none
        ("x@far.example", "contoso", AWAY),  # what leaves, leaves at home
        ("ann@contoso.example", "fabrikam", AWAY),  # of another customer, whatever that one's connectors take
        ("x@fabrikam.example", "contoso", ""),  # the other way round
        ("x@far.example", "fabrikam", ""),
    ],
)
def test_mail_goes_to_the_node_where_its_organization_lives(address: str, organization: str, home: str) -> None:
    planner = RoutePlanner(directory(home=AWAY), "legacy", NODES)
    ((found, _),) = planner.routes(organization, [Recipient(address)])
    assert isinstance(found, InternalRoute) == bool(home)
    if isinstance(found, InternalRoute):
        assert (found.hop.place, found.hop.at) == (f"{home}:8445", home)
        assert found.reasons == (f"contoso lives on the node {home}",)
        assert describe(found.hop.requirement) == f"authenticated(spiffe://contoso-site/node/{home})"
        assert found.hop.requirement.profile == "default"  # never without forward secrecy


def test_a_node_may_be_found_elsewhere() -> None:
    planner = RoutePlanner(directory(home="mx3.contoso.example"), nodes=NODES)
    ((found, _),) = planner.routes("contoso", [Recipient("ann@contoso.example")])
    assert isinstance(found, InternalRoute)
    assert (found.hop.place, found.hop.at) == ("mx3.contoso.example:2600", "192.0.2.3")


def test_nodes_of_the_same_store_are_tried_after_the_home_each_by_its_own_name() -> None:
    others = ("mx3.contoso.example", "mx4.contoso.example")
    planner = RoutePlanner(directory(home=AWAY), "legacy", replace(NODES, stand_ins={AWAY: others}))
    ((found, _),) = planner.routes("contoso", [Recipient("ann@contoso.example")])
    assert isinstance(found, InternalRoute)
    assert [(hop.place, hop.at, describe(hop.requirement)) for hop in found.hops] == [
        (f"{AWAY}:8445", AWAY, f"authenticated(spiffe://contoso-site/node/{AWAY})"),
        ("mx3.contoso.example:2600", "192.0.2.3", "authenticated(spiffe://contoso-site/node/mx3.contoso.example)"),
        ("mx4.contoso.example:8445", others[1], "authenticated(spiffe://contoso-site/node/mx4.contoso.example)"),
    ]


def test_a_notice_that_leaves_the_site_does_so_here() -> None:
    planner = RoutePlanner(directory(home=AWAY), nodes=NODES)
    ((found, _),) = planner.routes("contoso", [Recipient("x@far.example")], notice=True)
    assert isinstance(found, MxRoute)
    ((found, _),) = planner.routes("contoso", [Recipient("ann@contoso.example")], notice=True)
    assert isinstance(found, InternalRoute)


@pytest.mark.parametrize("nodes", [Nodes(), Nodes(AWAY, "contoso-site")], ids=["nobody", "at home"])
def test_at_home_everything_is_as_without_nodes(nodes: Nodes) -> None:
    planner = RoutePlanner(directory(home=AWAY), nodes=nodes)
    ((found, _),) = planner.routes("contoso", [Recipient("ann@contoso.example")])
    assert isinstance(found, MailboxRoute)


def test_who_is_in_no_site_keeps_the_mail() -> None:
    planner = RoutePlanner(directory(home=AWAY), nodes=Nodes("mx1.contoso.example"))
    ((found, _),) = planner.routes("contoso", [Recipient("ann@contoso.example")])
    assert isinstance(found, Unroutable)
    assert found.reply.text.startswith("450 4.3.5")
    assert "gatepost site join" in found.detail


def test_mail_for_a_node_that_was_removed_is_kept() -> None:
    planner = RoutePlanner(directory(home=AWAY), nodes=replace(NODES, members={"mx1.contoso.example": 0.0}))
    ((found, _),) = planner.routes("contoso", [Recipient("ann@contoso.example")])
    assert isinstance(found, Unroutable)
    assert found.reply.text.startswith("450 4.3.5")
    assert f"{AWAY} is not a node of contoso-site any more" in found.detail


def test_who_has_an_expired_certificate_keeps_the_mail() -> None:
    planner = RoutePlanner(directory(home=AWAY), nodes=Nodes("mx1.contoso.example", "contoso-site", expired=True))
    ((found, _),) = planner.routes("contoso", [Recipient("ann@contoso.example")])
    assert isinstance(found, Unroutable)
    assert found.reply.text.startswith("450 4.3.5")
    assert found.detail.endswith("the certificate of this node has expired: see gatepost site status")


def test_a_delivery_agent_elsewhere_never_does_without_forward_secrecy() -> None:
    found = route("eve@contoso.example", profile="legacy")
    assert isinstance(found, LmtpRoute)
    assert found.hop.requirement.profile == "default"


TENANTS = {"granted": [["outbound_connector", "own", "recipient_domains", "own.example"]], "tenants": True}
CHOSEN = {
    "accepted_domain": [{"name": "contoso.example"}],
    "mailbox": [
        {"address": "ann@contoso.example", "delivery": "lmtp:192.0.2.1:24"},
        {"address": "bob@contoso.example", "delivery": "lmtp:192.0.2.1:24"},
    ],
    "outbound_connector": [
        {"name": "own", "recipient_domains": ["own.example"]},
        {"name": "theirs", "recipient_domains": ["theirs.example"]},
        {"name": "all", "recipient_domains": ["*.all.example"]},
        {"name": "smart", "recipient_domains": ["smart.example"], "smart_hosts": ["192.0.2.1", "192.0.2.2:26"]},
    ],
}


def chosen_route(address: str, grants: dict[str, Any] | None, **more: Any) -> Any:
    resources = mark(parse({"organization": {"contoso": CHOSEN | more}}), {"contoso": grants} if grants else {})
    ((found, _),) = RoutePlanner(Directory(resources)).routes("contoso", [Recipient(address)])
    return found


@pytest.mark.parametrize(
    ("address", "bounded"),
    [("x@own.example", False), ("x@theirs.example", True), ("x@a.all.example", True), ("x@elsewhere.example", True)],
)
def test_mx_hosts_are_bound_where_tenants_choose_the_domain(address: str, bounded: bool) -> None:
    assert chosen_route(address, TENANTS).bounded is bounded
    assert not chosen_route(address, TENANTS | {"tenants": False}).bounded
    assert not chosen_route(address, None).bounded


def test_a_connector_for_every_domain_frees_none() -> None:
    grants = TENANTS | {"granted": [["outbound_connector", "every", "recipient_domains", "*"]]}
    every = [{"name": "every", "recipient_domains": ["*"]}]
    assert chosen_route("x@elsewhere.example", grants, outbound_connector=every).bounded


def test_smart_hosts_are_bound_one_by_one() -> None:
    grants = {"granted": [["outbound_connector", "smart", "smart_hosts", "192.0.2.2:26"]], "tenants": True}
    assert [hop.bounded for hop in chosen_route("x@smart.example", grants).hops] == [True, False]


def test_lmtp_servers_that_a_tenant_wrote_are_bound_and_travel_apart() -> None:
    grants = {"granted": [["mailbox", "ann@contoso.example", "delivery", "lmtp:192.0.2.1:24"]]}
    resources = mark(parse({"organization": {"contoso": CHOSEN}}), {"contoso": grants})
    recipients = [Recipient(f"{name}@contoso.example") for name in ("ann", "bob")]
    found = RoutePlanner(Directory(resources)).routes("contoso", recipients)
    assert [(route.hop.bounded, len(members)) for route, members in found] == [(False, 1), (True, 1)]  # type: ignore[union-attr] # LMTP


# Another organization's domain

FILTER = {
    "name": "filter",
    "recipient_domains": ["*"],
    "smart_hosts": ["filter.contoso.example"],
    "tls_settings": "domain-validation",
    "tls_domain": "filter.contoso.example",
    "min_tls_version": "TLSv1.3",
    "encrypt": "smime",
}


def test_what_the_sender_demands_is_joined_to_the_way_of_the_domains_owner() -> None:
    found = route("x@fabrikam.example", directory(outbound_connector=[FILTER]))
    assert isinstance(found, SmartHosts)
    assert (found.connector.name, found.connector_owner, found.domain_owner) == ("hq", "fabrikam", "fabrikam")
    assert found.sender is not None
    assert found.sender.record() == {"organization": "contoso", "connector": "filter"}
    demand = found.hops[0].requirement
    # The host proves its own name: it cannot bear that of the sender's smart host.
    assert describe(demand) == "authenticated(hq.fabrikam.example)"
    assert isinstance(demand, Authenticated)
    assert demand.min_version == "TLSv1.3"
    assert [str(source) for source in demand.sources] == ["connector:hq of fabrikam", "connector:filter"]
    assert [str(source) for source in found.content.encrypt.required] == ["connector:filter"]
    assert found.reasons[-1] == (
        "fabrikam accepts fabrikam.example and decides where its mail goes, as no connector of contoso names that "
        "domain; "
        "the demands of connector 'filter' of contoso apply too"
    )


def test_a_rehearsal_of_either_is_joined_to_the_demand_of_the_other() -> None:
    trial = route("x@fabrikam.example", directory(outbound_connector=[FILTER | {"mode": "rehearse"}]))
    assert isinstance(trial, SmartHosts)
    assert isinstance(trial.hops[0].requirement, Authenticated)
    assert trial.hops[0].requirement.min_version == ""
    assert isinstance(trial.hops[0].rehearsed, Authenticated)
    assert trial.hops[0].rehearsed.min_version == "TLSv1.3"


def test_a_connector_that_names_the_domain_is_the_senders_own_affair() -> None:
    named = FILTER | {"recipient_domains": ["*.fabrikam.example"]}
    theirs = [{"name": "in", "recipients": ["fabrikam.example"], "require_tls": True}]
    found = route("x@fabrikam.example", directory(theirs, outbound_connector=[named]))
    assert isinstance(found, SmartHosts)
    assert (found.connector.name, found.connector_owner, found.domain_owner) == ("filter", "contoso", "fabrikam")
    assert found.sender is None
    assert [str(source) for source in found.hops[0].requirement.sources] == ["connector:filter"]


def test_a_disabled_connector_that_the_senders_rule_names_keeps_the_mail() -> None:
    resources = directory(
        outbound_connector=[HUB | {"enabled": False}], mail_flow_rule=[TO_HUB | {"recipients": ["fabrikam.example"]}]
    )
    found = route("x@fabrikam.example", resources)
    assert isinstance(found, Unroutable)
    assert found.detail == "connector 'Hub' of contoso is disabled; enable it, or change the mail flow rule"


@pytest.mark.parametrize("address", ["ann@contoso.example", "eve@contoso.example"])
def test_what_the_sender_demands_of_the_content_holds_for_mailboxes_of_another(address: str) -> None:
    """Not for its own, though the connector would take them as well."""
    secret = {"name": "secret", "header_name": "X-Label", "sign": "smime"}
    resources = directory([secret], mailbox=[{"address": address, "delivery": "lmtp:unix:/run/lmtp"}])
    planner = RoutePlanner(resources)
    assert planner.header_names("fabrikam", [Recipient(address)]) == {"x-label"}
    assert planner.header_names("contoso", [Recipient(address)]) == frozenset()
    labelled = Content({"x-label": ("x",)})
    theirs = route(address, resources, organization="fabrikam", content=labelled)
    own = route(address, resources, content=labelled)
    assert isinstance(theirs, LmtpRoute)
    assert isinstance(own, LmtpRoute)
    assert theirs.domain_owner == own.domain_owner == "contoso"
    assert [str(source) for source in theirs.content.sign.required] == ["rule:secret"]
    assert own.content == NO_DEMAND
    assert route(address, resources, organization="gone", content=labelled) == own


def test_mail_for_a_domain_that_two_organizations_claim_waits() -> None:
    document = {"organization": {name: {"accepted_domain": [{"name": "x.example"}]} for name in ("one", "two")}}
    planner = RoutePlanner(Directory(parse(document)))
    ((found, _),) = planner.routes("one", [Recipient("ann@x.example")])
    assert isinstance(found, Unroutable)
    assert (found.reply.code, found.detail) == (
        450,
        "two organizations claim x.example; it waits until one of them gives it up (gatepost alarms)",
    )
