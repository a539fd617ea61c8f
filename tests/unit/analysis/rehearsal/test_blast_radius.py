from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.analysis.conftest import NOON, certified, hop_row, session_row, stored

from gatepost.analysis.rehearsal import blast_radius as module
from gatepost.analysis.rehearsal.blast_radius import COLUMNS, BlastRadius, Kind, blast_radius
from gatepost.analysis.rehearsal.touched import touched
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.names import covers

MakeDirectory = Callable[[str], Directory]

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "ann@contoso.example" }, { address = "joe@contoso.example" }]
"""
INBOUND = '[[organization.contoso.inbound_connector]]\nname = "in"\nsender_domains = ["bank.example"]\n'
CERTIFICATE = 'restrict_domains_to_certificate = true\ntls_sender_certificate_name = "mail.bank.example"\n'
OUTBOUND = '[[organization.contoso.outbound_connector]]\nname = "out"\nrecipient_domains = ["lab.example"]\n'
ENCRYPTED = OUTBOUND + 'tls_settings = "encryption-only"\n'
CLEAR: dict[str, Any] = {"tls": {}, "achieved": "none/none", "detail": {"starttls_offered": False, "attempt": 1}}
ACCEPTED_TOO = BASE.replace('"contoso.example" }', '"contoso.example" }, { name = "new.example" }')


def radius(directory: MakeDirectory, before: str, after: str, events: Sequence[TraceEvent]) -> BlastRadius:
    rows = (stored(COLUMNS, event) for event in events)
    return blast_radius(rows, directory(before), directory(after), "default")


# before, after, a row -> the ways in which it differs
KINDS: dict[str, tuple[str, str, TraceEvent, set[Kind]]] = {
    "the same": (BASE + INBOUND, BASE + INBOUND, session_row(), set()),
    "a new connector refuses": (
        BASE, BASE + INBOUND, session_row(), {Kind.REFUSED, Kind.STRONGER, Kind.CONNECTOR},
    ),
    "a new connector takes": (
        BASE, BASE + INBOUND, session_row(tls=certified()), {Kind.STRONGER, Kind.CONNECTOR},
    ),
    "another sender": (BASE, BASE + INBOUND, session_row(sender="x@y.example"), set()),
    "enforced at last": (
        BASE + INBOUND + 'mode = "rehearse"', BASE + INBOUND, session_row(), {Kind.REFUSED, Kind.STRONGER},
    ),
    "only rehearsed": (BASE, BASE + INBOUND + 'mode = "rehearse"', session_row(), {Kind.CONNECTOR}),
    "let in again": (
        BASE + INBOUND, BASE, session_row(event="REFUSE", message=""), {Kind.ACCEPTED, Kind.WEAKER, Kind.CONNECTOR},
    ),
    "refused before and after": (
        BASE + INBOUND, BASE + INBOUND + CERTIFICATE, session_row(event="REFUSE", message=""), set(),
    ),
    "no certificate needed any more": (
        BASE + INBOUND + CERTIFICATE, BASE + INBOUND, session_row(tls=certified("mail.bank.example")), {Kind.WEAKER},
    ),
    "another certificate name": (
        BASE + INBOUND + CERTIFICATE, BASE + INBOUND + CERTIFICATE.replace("mail.", "*."),
        session_row(tls=certified("mail.bank.example")), {Kind.REQUIREMENT},
    ),
    "judged by other anchors": (
        BASE + INBOUND + CERTIFICATE, BASE + INBOUND + CERTIFICATE + 'trust_anchors = "/x.pem"',
        session_row(tls=certified("mail.bank.example")), {Kind.UNKNOWN, Kind.REQUIREMENT},
    ),
    "a new domain": (
        BASE, ACCEPTED_TOO, session_row(event="REFUSE", message="", recipient="a@new.example"), {Kind.ACCEPTED},
    ),
    "held": (BASE, BASE + ENCRYPTED, hop_row(**CLEAR), {Kind.HELD, Kind.STRONGER, Kind.CONNECTOR}),
    "sent all the same": (BASE, BASE + ENCRYPTED, hop_row(), {Kind.STRONGER, Kind.CONNECTOR}),
    "sent at last": (
        BASE + ENCRYPTED, BASE + OUTBOUND, hop_row(**CLEAR | {"event": "DEFER", "requirement": "encrypted"}),
        {Kind.DELIVERED, Kind.WEAKER},
    ),
    "by another host": (
        BASE + OUTBOUND, BASE + OUTBOUND + 'smart_hosts = ["a.example"]', hop_row(), {Kind.UNKNOWN},
    ),
    "no connection was made": (
        BASE, BASE + ENCRYPTED, hop_row(event="DEFER", tls={}), {Kind.UNKNOWN, Kind.STRONGER, Kind.CONNECTOR},
    ),
    "no connection, nothing changed": (BASE + ENCRYPTED, BASE + ENCRYPTED, hop_row(event="DEFER", tls={}), set()),
    "no such mailbox any more": (
        BASE, BASE.replace(', { address = "joe@contoso.example" }', ""),
        hop_row(event="DELIVER", tls={}, recipient="joe@contoso.example"), {Kind.RETURNED},
    ),
    "a mailbox at last": (
        BASE.replace(', { address = "joe@contoso.example" }', ""), BASE,
        hop_row(event="FAIL", tls={}, recipient="joe@contoso.example"), {Kind.DELIVERED},
    ),
    "a comment": (BASE + ENCRYPTED, BASE + ENCRYPTED + 'comment = "x"', hop_row(**CLEAR), set()),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "event", "kinds"), KINDS.values(), ids=KINDS)
def test_in_what_ways_a_message_differs(
    directory: MakeDirectory, before: str, after: str, event: TraceEvent, kinds: set[Kind]
) -> None:
    found = radius(directory, before, after, [event])
    assert {kind for one in found.differences() for kind in (one.kind, *one.also)} == kinds
    assert [one.kind for one in found.differences()] == [kind for kind in Kind if kind in kinds][:1]
    total = found.inbound if event.event in {"RECEIVE", "REFUSE"} else found.outbound
    assert (total.messages, total.different) == (1, int(bool(kinds)))


def test_worse_comes_first_and_says_what_was_and_would_be(directory: MakeDirectory) -> None:
    events = [session_row(at=NOON + 1, message="new"), session_row(), hop_row(**CLEAR), session_row(message="5")]
    found = radius(directory, BASE, BASE + INBOUND + ENCRYPTED, events)
    first, second, *_ = found.differences()
    assert (first.kind, first.messages, first.direction, first.sample) == (Kind.REFUSED, 3, "inbound", "new")
    assert dict(first.peers) == {"mail of bank.example from 192.0.2.1": 3}
    assert first.before == "accepted (no connector, opportunistic)"
    assert first.after.startswith("refused (connector 'in', encrypted): 530 5.7.0")
    assert (second.kind, second.messages, dict(second.peers)) == (Kind.HELD, 1, {"mail to lab.example": 1})


def test_nothing_of_a_hidden_organizations_way_is_told(directory: MakeDirectory) -> None:
    """Its own demand changes: before and after, its mail takes a connector of the organization that has the domain."""
    theirs = (
        '[organization.lab]\naccepted_domain = [{ name = "lab.example", type = "internal-relay" }]\n'
        '[[organization.lab.outbound_connector]]\nname = "hub"\nrecipient_domains = ["lab.example"]\n'
        'smart_hosts = ["hub.inside.example"]\ntls_settings = "domain-validation"\ntls_domain = "hub.inside.example"\n'
    )
    rule = '[[organization.contoso.mail_flow_rule]]\nname = "secret"\nrequire_tls = true\n'
    rule += 'recipients = ["lab.example"]\n'
    before, after = (
        directory(
            BASE
            + theirs.replace('"domain-validation"', '"encryption-only"').replace(
                'tls_domain = "hub.inside.example"\n', ""
            )
        ),
        directory(BASE + rule + theirs),
    )
    event = hop_row(peer_host="hub.inside.example", **CLEAR)
    for hidden, named in (((), True), ({"lab"}, False)):
        (found,) = blast_radius([stored(COLUMNS, event)], before, after, "default", hidden).differences()
        text = f"{found.before} {found.after}"
        assert ("'hub'" in text, "hub.inside.example" in text) == (named, named), text
        assert ("another organization's connector" in text) is not named
    assert found.before.startswith("held (another organization's connector, encrypted")
    assert found.after == "held (another organization's connector, authenticated)"


def test_messages_are_counted_not_recipients_nor_attempts(directory: MakeDirectory) -> None:
    later = {"event": "DEFER", "tls": {}, "achieved": "none/none"}
    events = [
        session_row(), session_row(recipient="joe@contoso.example"),
        session_row(event="REFUSE", message="", recipient="b@contoso.example"),
        *(hop_row(**later, at=NOON - n, detail={"starttls_offered": False, "attempt": 21 - n}) for n in range(20)),
        hop_row(**later, at=NOON - 99, detail={"starttls_offered": False, "attempt": 1}),
        hop_row(message="3", recipient="joe@x.example"),
    ]  # fmt: skip
    found = radius(directory, BASE, BASE + INBOUND + ENCRYPTED, events)
    assert (found.inbound.messages, found.inbound.different) == (2, 1)
    assert (found.outbound.messages, found.outbound.different) == (2, 1)
    assert {one.messages for one in found.differences()} == {1}


NO_JOE = BASE.replace(', { address = "joe@contoso.example" }', "")


def of(found: BlastRadius) -> list[tuple[Kind, str, int, dict[Kind, int], dict[str, int], str]]:
    return [
        (one.kind, one.direction, one.messages, dict(+one.also), dict(+one.peers), one.sample)
        for one in found.differences()
    ]


def test_a_message_counts_once_under_its_gravest_kind(directory: MakeDirectory) -> None:
    """To a recipient that fares worse it is found later than to one that only gets another connector."""
    secured, joe = certified(), {"recipient": "joe@contoso.example"}
    events = [
        session_row(message="a", tls=secured, at=NOON + 9), session_row(message="a", **joe, at=NOON + 9),
        session_row(message="b", tls=secured, at=NOON + 8), session_row(message="c", at=NOON + 7),
    ]  # fmt: skip
    found = radius(directory, BASE, BASE + INBOUND, events)
    connector = {Kind.STRONGER: 2, Kind.CONNECTOR: 2}
    assert of(found) == [
        (Kind.REFUSED, "inbound", 2, connector, {"mail of bank.example from 192.0.2.1": 2}, "a"),
        (Kind.STRONGER, "inbound", 1, {Kind.CONNECTOR: 1}, {"mail of bank.example from 192.0.2.1": 1}, "b"),
    ]
    assert (found.inbound.messages, found.inbound.different) == (3, 3)


def test_a_kind_of_which_nothing_stays_is_not_there(directory: MakeDirectory) -> None:
    events = [
        session_row(message="a", tls=certified()), session_row(message="a", recipient="joe@contoso.example"),
    ]  # fmt: skip
    assert [one[:3] for one in of(radius(directory, BASE, BASE + INBOUND, events))] == [(Kind.REFUSED, "inbound", 1)]


def test_another_way_of_the_same_gravity_moves_nothing(directory: MakeDirectory) -> None:
    """A mailbox that is gone, and a next hop that asks for more: one message, of which one copy comes back."""
    gone = {"event": "DELIVER", "tls": {}, "recipient": "joe@contoso.example"}
    events = [hop_row(message="m", **gone), hop_row(message="m")]
    found = radius(directory, BASE, NO_JOE + ENCRYPTED, events)
    assert of(found) == [
        (Kind.RETURNED, "outbound", 1, {Kind.STRONGER: 1, Kind.CONNECTOR: 1}, {"mail to contoso.example": 1}, "m")
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "RECEIVE", "c", "CLEAR", "DEFER"])), max_size=9))
def test_the_kinds_add_up(found: list[tuple[str, str]]) -> None:
    made = {
        "": session_row(event="REFUSE", message="", tls={}),
        "RECEIVE": session_row(),
        "c": session_row(tls=certified()),
        "CLEAR": hop_row(**CLEAR),
        "DEFER": hop_row(event="DEFER", tls={}),
    }
    rows = []
    for name, kind in found:
        event = made[kind]
        rows.append(stored(COLUMNS, msgspec.structs.replace(event, message=event.message and name)))
    old, new = Directory(parse(tomllib.loads(BASE))), Directory(parse(tomllib.loads(BASE + INBOUND + ENCRYPTED)))
    result = blast_radius(rows, old, new, "default")
    for direction, total in (("inbound", result.inbound), ("outbound", result.outbound)):
        counts = [one for one in result.differences() if one.direction == direction]
        assert sum(one.messages for one in counts) == total.different
        assert all(one.messages == one.peers.total() > 0 for one in counts)
        assert all(0 <= count <= one.messages for one in counts for count in one.also.values())


def test_what_is_kept_is_bounded(directory: MakeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PEERS", 2)
    monkeypatch.setattr(module, "_KEPT", 2)
    events = [session_row(message=str(n), peer_address=f"192.0.2.{n}") for n in range(5)]
    refused = radius(directory, BASE, BASE + INBOUND, events).differences()[0]
    assert refused.messages == 5
    assert refused.peers["(others)"] == 3


# Any change of these resources, and any of these rows: what differs is in what is said to be touched.

inbound_parts = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b"]),
        "sender_domains": st.sampled_from([["bank.example"], ["*.bank.example"], ["*"]]),
    },
    optional={
        "mode": st.just("rehearse"),
        "enabled": st.just(False),
        "require_tls": st.booleans(),
        "priority": st.just(5),
        "associated_accepted_domains": st.just(["contoso.example"]),
    },
)
own_servers = st.fixed_dictionaries(
    {"name": st.just("own"), "connector_type": st.just("on-premises"), "sender_ip_addresses": st.just(["192.0.2.1"])},
    optional={"require_tls": st.just(True), "tls_sender_certificate_name": st.just("mail.contoso.example")},
)
outbound_parts = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b"]),
        "recipient_domains": st.sampled_from([["lab.example"], ["*.lab.example"], ["*"]]),
    },
    optional={
        "mode": st.just("rehearse"),
        "enabled": st.just(False),
        "tls_settings": st.sampled_from(["encryption-only", "certificate-validation"]),
        "priority": st.just(5),
    },
)
rules = st.fixed_dictionaries(
    {"name": st.just("r"), "require_tls": st.just(True)},
    optional={"recipients": st.just(["lab.example"]), "senders": st.just(["contoso.example"])},
)
unique = {"unique_by": lambda part: part["name"], "max_size": 2}
documents = st.fixed_dictionaries(
    {
        "accepted_domain": st.sampled_from(
            [[{"name": "contoso.example"}], [{"name": "contoso.example"}, {"name": "new.example"}]]
        ),
        "mailbox": st.sampled_from([[], [{"address": "ann@contoso.example"}]]),
        "inbound_connector": st.lists(st.one_of(inbound_parts, own_servers), **unique),
        "outbound_connector": st.lists(outbound_parts, **unique),
        "mail_flow_rule": st.lists(rules, max_size=1),
    },
    optional={"reject_direct_send": st.just(True), "cleartext": st.just("never")},
).map(lambda document: {"organization": {"contoso": document}})
addresses = st.sampled_from(
    ["ann@contoso.example", "x@bank.example", "x@a.bank.example", "x@lab.example", "x@new.example", "x@y.example"]
)
events = st.one_of(
    st.builds(
        session_row,
        sender=st.one_of(addresses, st.just("")),
        recipient=addresses,
        tls=st.sampled_from([{}, certified("mail.contoso.example"), certified("a", status="expired")]),
    ),
    st.builds(
        hop_row,
        sender=addresses,
        recipient=addresses,
        direction=st.sampled_from(["incoming", "originating"]),
        tls=st.sampled_from([certified("a"), certified("a", status="expired")]),
    ),
    st.builds(lambda **fields: hop_row(**CLEAR, **fields), sender=addresses, recipient=addresses),
)


@given(documents, documents, st.lists(events, min_size=1, max_size=5))
def test_what_differs_was_said_to_be_touched(
    before: dict[str, Any], after: dict[str, Any], found: list[TraceEvent]
) -> None:
    old, new = parse(before), parse(after)
    change = touched(old, new)
    for event in found:
        result = blast_radius([stored(COLUMNS, event)], Directory(old), Directory(new), "default")
        if not result.by_kind:
            continue
        inbound = event.event in {"RECEIVE", "REFUSE"}
        assert change.inbound if inbound else change.outbound
        in_recipients = any(_takes_in(pattern, event.recipient) for pattern in change.recipients)
        in_senders = any(_takes_in(pattern, event.sender) for pattern in change.senders)
        assert in_recipients or (inbound and in_senders), (event, change)


@given(documents, st.lists(events, max_size=5))
def test_without_a_change_nothing_differs(document: dict[str, Any], found: list[TraceEvent]) -> None:
    rows = [stored(COLUMNS, event) for event in found]
    assert not blast_radius(rows, Directory(parse(document)), Directory(parse(document)), "default").by_kind


def _takes_in(pattern: str, address: str) -> bool:
    return pattern == address or ("@" not in pattern and covers(pattern, address.rpartition("@")[2]))
