from __future__ import annotations

import tomllib

import pytest

from gatepost.mail.model.message import Recipient
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.match import Attribution
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.forwarding import (
    MailOrigin,
    Returned,
    expand,
    keeps_sender,
    organizations_reached,
    relay_domain,
    returned,
    targets_of,
)
from gatepost.policy.decisions.home import Nodes
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.protocols.message.srs import NO_KEYS, SrsKeys
from gatepost.protocols.smtp.grammar import Path, parse_address

KEYS = SrsKeys((b"k" * 32,))
NOW = 20000.5 * 86400
NULL = Path("", "", "")
CHAIN = 12

TEXT = """
[organization.o]
subaddress_separator = "+"
[[organization.o.accepted_domain]]
name = "o.example"
[[organization.o.accepted_domain]]
name = "relay.example"
type = "internal-relay"
[[organization.o.mailbox]]
address = "ann@o.example"
aliases = ["info@o.example"]
[[organization.o.mailbox]]
address = "away@o.example"
aliases = ["gone@o.example"]
forwarding_smtp_address = "bob@b.example"
[[organization.o.mailbox]]
address = "both@o.example"
forwarding_smtp_address = "Info+tag@o.example"
deliver_to_mailbox_and_forward = true
[[organization.o.mailbox]]
address = "inside@o.example"
forwarding_smtp_address = "eve@relay.example"
[[organization.o.mailbox]]
address = "twice@o.example"
forwarding_smtp_address = "both@o.example"
[[organization.o.mailbox]]
address = "tag@o.example"
forwarding_smtp_address = "tag+x@o.example"
[[organization.o.mailbox]]
address = "SRS0=box@o.example"
""" + "".join(
    f'[[organization.o.mailbox]]\naddress = "c{n}@o.example"\nforwarding_smtp_address = "c{n + 1}@o.example"\n'
    for n in range(CHAIN)
)


@pytest.fixture(scope="module")
def directory() -> Directory:
    return Directory(parse(tomllib.loads(TEXT)), 7)


@pytest.mark.parametrize(
    ("address", "targets", "reasons"),
    [
        ("x@b.example", [("x@b.example", "")], []),
        ("Ann@o.example", [("Ann@o.example", "")], []),
        ("info@o.example", [("info@o.example", "")], ["info@o.example is for the mailbox ann@o.example"]),
        ("ann+t@o.example", [("ann+t@o.example", "")], ["ann+t@o.example is for the mailbox ann@o.example"]),
        (
            "gone@o.example",
            [("bob@b.example", "away@o.example")],
            [
                "gone@o.example is for the mailbox away@o.example",
                "the mailbox away@o.example forwards to bob@b.example",
            ],
        ),
        (
            "both@o.example",
            [("both@o.example", ""), ("Info+tag@o.example", "both@o.example")],
            [
                "the mailbox both@o.example forwards to Info+tag@o.example, and keeps it",
                "Info+tag@o.example is for the mailbox ann@o.example",
            ],
        ),
        (
            "twice@o.example",
            [("both@o.example", "twice@o.example"), ("Info+tag@o.example", "both@o.example")],
            [
                "the mailbox twice@o.example forwards to both@o.example",
                "the mailbox both@o.example forwards to Info+tag@o.example, and keeps it",
                "Info+tag@o.example is for the mailbox ann@o.example",
            ],
        ),
        (
            "tag@o.example",  # no rule of the resources sees this circle: the mail ends in the mailbox
            [("tag+x@o.example", "tag@o.example")],
            [
                "the mailbox tag@o.example forwards to tag+x@o.example",
                "tag+x@o.example is for the mailbox tag@o.example",
                "tag@o.example forwards no further: the message came through tag@o.example",
            ],
        ),
    ],
)
def test_what_a_recipient_stands_for(
    directory: Directory, address: str, targets: list[tuple[str, str]], reasons: list[str]
) -> None:
    found = expand(directory, parse_address(address))
    assert [(one.path.text, one.forwarded_by) for one in found.targets] == targets
    assert list(found.reasons) == reasons


def test_a_long_chain_ends_in_a_mailbox(directory: Directory) -> None:
    (target,) = expand(directory, parse_address("c0@o.example")).targets
    assert (target.path.text, target.forwarded_by) == ("c10@o.example", "c9@o.example")


@pytest.mark.parametrize(
    ("sender", "recipient", "is_rewritten"),
    [
        ("x@fabrikam.example", "away@o.example", True),
        ("x@fabrikam.example", "inside@o.example", False),  # it does not leave
        ("x@fabrikam.example", "twice@o.example", False),
        ("x@fabrikam.example", "x@b.example", False),  # relayed, not forwarded
        ("ann@o.example", "away@o.example", False),  # the sender's domain is ours
        ("", "away@o.example", False),
    ],
)
def test_only_a_strangers_reverse_path_is_rewritten_and_only_on_the_way_out(
    directory: Directory,
    sender: str,
    recipient: str,
    is_rewritten: bool,
) -> None:
    reverse_path = parse_address(sender) if sender else NULL
    targets = targets_of(directory, KEYS, reverse_path, parse_address(recipient), NOW)
    assert [bool(target.return_path) for target in targets] == [is_rewritten] * len(targets)
    if is_rewritten:
        made = parse_address(targets[0].return_path)
        assert made.domain == "o.example"
        assert KEYS.original(made.local_part, 20000).text == sender
    assert not any(one.return_path for one in targets_of(directory, NO_KEYS, reverse_path, parse_address(recipient), 0))


@pytest.mark.parametrize(
    ("basis", "sender", "recipient", "domain"),
    [
        ("certificate", "x@fabrikam.example", "x@b.example", "o.example"),
        ("certificate", "x@fabrikam.example", "away@o.example", "o.example"),  # as forwarded
        ("certificate", "x@fabrikam.example", "ann@o.example", ""),  # it does not leave
        ("certificate", "ann@o.example", "x@b.example", ""),
        ("certificate", "", "x@b.example", ""),
        ("address", "x@fabrikam.example", "x@b.example", ""),
        ("address-alone", "x@fabrikam.example", "x@b.example", "o.example"),
        ("certificate-and-sender", "x@fabrikam.example", "x@b.example", ""),
    ],
)
def test_what_an_own_server_relays_for_others_goes_out_as_the_organizations(
    directory: Directory, basis: str, sender: str, recipient: str, domain: str
) -> None:
    """exchange.md section 5.3."""
    brought = Attribution("originating", "o", None, basis, ())
    reverse_path = parse_address(sender) if sender else NULL
    (target,) = targets_of(directory, KEYS, reverse_path, parse_address(recipient), NOW, MailOrigin(brought))
    assert target.return_path.rpartition("@")[2] == domain
    if domain:
        assert returned(directory, KEYS, NULL, parse_address(target.return_path), NOW).original.text == sender


def test_a_stranger_relays_as_nobody_and_wildcards_are_no_domain(directory: Directory) -> None:
    stranger = MailOrigin(Attribution("none", None, None, "none", ()))
    (target,) = targets_of(
        directory, KEYS, parse_address("x@fabrikam.example"), parse_address("x@b.example"), NOW, stranger
    )
    assert target.return_path == ""
    assert relay_domain(directory, "o", "none") == relay_domain(directory, "gone", "certificate") == ""
    text = """
[[organization.o.accepted_domain]]
name = "*.o.example"
type = "internal-relay"
"""
    assert relay_domain(Directory(parse(tomllib.loads(text))), "o", "certificate") == ""
    second = '[[organization.o.accepted_domain]]\nname = "o.example"\n'
    assert relay_domain(Directory(parse(tomllib.loads(text + second))), "o", "certificate") == "o.example"


def srs(directory: Directory, sender: str = "bob@fabrikam.example", now: float = NOW) -> Path:
    (target,) = targets_of(directory, KEYS, parse_address(sender), parse_address("away@o.example"), now)
    return parse_address(target.return_path)


def test_a_notice_goes_back_to_the_original_sender(directory: Directory) -> None:
    found = returned(directory, KEYS, NULL, srs(directory), NOW + 5 * 86400)
    assert found is not None
    assert found.original is not None
    assert found.original.text == "bob@fabrikam.example"
    (target,) = targets_of(directory, KEYS, NULL, found, NOW)
    assert (target.path.text, target.forwarded_by, target.return_path) == ("bob@fabrikam.example", "", "")


@pytest.mark.parametrize(
    ("sender", "keys", "days", "status", "why"),
    [
        ("", SrsKeys((b"o" * 32,)), 0, "5.1.1", "forged"),
        ("", KEYS, 40, "5.1.1", "40 days old"),
        ("", NO_KEYS, 0, "5.1.1", "forged"),
        ("x@y.example", KEYS, 0, "5.7.1", "only a null reverse-path"),
    ],
)
def test_what_does_not_go_back(
    directory: Directory, sender: str, keys: SrsKeys, days: int, status: str, why: str
) -> None:
    reverse_path = parse_address(sender) if sender else NULL
    found = returned(directory, keys, reverse_path, srs(directory), NOW + days * 86400)
    assert found is not None
    assert found.original is None
    assert found.reply.enhanced == status
    assert why in found.reason
    assert targets_of(directory, keys, reverse_path, found, NOW)[0].path == srs(directory)


@pytest.mark.parametrize("address", ["ann@o.example", "SRS0=x@elsewhere.example", "SRS0=box@o.example"])
def test_other_recipients_are_no_returning_ones(directory: Directory, address: str) -> None:
    assert returned(directory, KEYS, NULL, parse_address(address), NOW) is None


def test_a_returned_address_is_a_value(directory: Directory) -> None:
    found = returned(directory, KEYS, NULL, srs(directory), NOW)
    assert isinstance(found, Returned)
    assert found.recipient == srs(directory)


AT_HOME, AWAY_FROM_IT = Nodes("mx2.o.example", "o-site"), Nodes("mx1.o.example", "o-site")


def test_whoever_lives_on_another_node_is_rewritten_and_known_there() -> None:
    text = TEXT.replace("[organization.o]", '[organization.o]\nhome = "mx2.o.example"')
    directory = Directory(parse(tomllib.loads(text)))
    stranger, forwarder = parse_address("eve@far.example"), parse_address("away@o.example")
    (elsewhere,) = targets_of(directory, NO_KEYS, stranger, forwarder, NOW, MailOrigin(nodes=AWAY_FROM_IT))
    assert (elsewhere.path.text, elsewhere.return_path) == ("bob@b.example", "")
    (here,) = targets_of(directory, KEYS, stranger, forwarder, NOW, MailOrigin(nodes=AT_HOME))
    assert here.return_path.startswith("SRS0=")
    (box,) = targets_of(directory, KEYS, stranger, parse_address("ann@o.example"), NOW, MailOrigin(nodes=AWAY_FROM_IT))
    assert (box.path.text, box.return_path) == ("ann@o.example", "")
    back = parse_address(here.return_path)
    passed_on = returned(directory, NO_KEYS, NULL, back, NOW, AWAY_FROM_IT)
    assert passed_on is not None
    assert (passed_on.original, passed_on.reason) == (back, f"only the node mx2.o.example can reverse {back.text}")
    known = returned(directory, KEYS, NULL, back, NOW, AT_HOME)
    assert known is not None
    assert known.original == stranger
    refused = returned(directory, KEYS, stranger, back, NOW, AWAY_FROM_IT)
    assert refused is not None
    assert refused.original is None


@pytest.mark.parametrize(
    ("recipient", "connector", "home", "kept"),
    [
        ("x@b.example", {}, "", False),
        ("x@b.example", {"connector_type": "on-premises"}, "", True),
        ("x@b.example", {"connector_type": "on-premises", "smart_hosts": ["hq.o.example"]}, "", True),
        ("x@b.example", {"connector_type": "on-premises", "sender_rewriting_enabled": True}, "", False),
        ("ann@o.example", {"connector_type": "on-premises"}, "", False),
        ("x@c.example", {"connector_type": "on-premises"}, "", False),
        ("x@b.example", {}, "mx2.o.example", True),  # it is rewritten where it leaves the site
    ],
)
def test_own_servers_and_nodes_see_the_senders_own_reverse_path(
    recipient: str, connector: dict[str, object], home: str, kept: bool
) -> None:
    out = {"name": "out", "recipient_domains": ["b.example"], **connector}
    organization = {"accepted_domain": [{"name": "o.example"}], "mailbox": [{"address": "ann@o.example"}]}
    resources = Directory(parse({"organization": {"o": {**organization, "outbound_connector": [out], "home": home}}}))
    planner = RoutePlanner(resources, nodes=Nodes("mx1.o.example", "o-site", {"mx2.o.example": ("192.0.2.2", 2600)}))
    ((route, _),) = planner.routes("o", [Recipient(recipient)])
    assert keeps_sender(route) is kept


@pytest.mark.parametrize(
    ("recipient", "names"), [("ann@o.example", ["o"]), ("both@o.example", ["o", "o"]), ("away@o.example", [])]
)
def test_the_organizations_that_a_forwarded_message_reaches(recipient, names):
    directory = Directory(parse(tomllib.loads(TEXT)))
    assert organizations_reached(directory, expand(directory, parse_address(recipient)).targets) == names
