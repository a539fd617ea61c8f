from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from gatepost.policy.connectors import address_index
from gatepost.policy.connectors.address_index import NOBODY, AddressHolders, AddressIndex
from gatepost.policy.connectors.directory import Directory, InboundEntry, address_key
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient
from gatepost.protocols.smtp.grammar import parse_address, parse_path

ADDRESS = "192.0.2.7"


def connector(name: str, *networks: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "connector_type": "on-premises", "sender_ip_addresses": networks or (ADDRESS,), **fields}


def directory(**connectors: list[dict[str, Any]]) -> Directory:
    return Directory(
        parse(
            {
                "organization": {
                    name: {
                        "accepted_domain": [{"name": f"{name}.example"}, {"name": f"d.{name}.example"}],
                        "inbound_connector": found,
                    }
                    for name, found in connectors.items()
                }
            }
        )
    )


def holders(address: str = ADDRESS, **connectors: list[dict[str, Any]]) -> AddressHolders[InboundEntry]:
    return directory(**connectors).on_premises_by_address(address_key(address))


def names(found: tuple[InboundEntry, ...] | None) -> list[str]:
    return [entry.connector.name for entry in found or ()]


def test_the_lowest_priority_goes_first_then_the_narrowest_network_then_the_name() -> None:
    found = holders(
        o=[
            connector("wide", "192.0.2.0/24"),
            connector("b"),
            connector("a"),
            connector("late", priority=200),
            connector("both", "192.0.2.0/24", ADDRESS),
            connector("elsewhere", "192.0.2.8"),
            connector("early", "192.0.2.0/25", priority=1),
            connector("other version", "2001:db8::/48"),
        ]
    )
    assert names(found.entries) == ["early", "a", "b", "both", "wide", "late"]
    assert found.claims == tuple(("address", entry) for entry in found.entries)


@pytest.mark.parametrize("address", ["198.51.100.1", "2001:db8::1", "no address"])
def test_nobody_holds_another_address(address: str) -> None:
    assert holders(address, o=[connector("a")]) is NOBODY
    assert NOBODY.first("o", "o.example") is None
    assert NOBODY.first_by_address_alone(null=True) is None
    assert not NOBODY.organizations


def test_who_goes_first_for_a_domain_of_an_organization() -> None:
    found = holders(
        o=[
            connector("limited", priority=1, associated_accepted_domains=["o.example"]),
            connector("tried", priority=2, mode="rehearse"),
            connector("a", priority=3),
        ],
        p=[connector("of p", mode="rehearse")],
    )
    assert found.organizations == {"o", "p"}
    for _ in range(2):
        assert names(found.first("o", "o.example")) == ["limited", "limited"]
        assert names(found.first("o", "x.example")) == ["tried", "a"]
        assert names(found.first("o", "")) == ["tried", "a"]
        assert names(found.first("p", "o.example")) == ["of p", "of p"]
        assert found.first("q", "o.example") is None


def test_to_whom_the_address_is_enough() -> None:
    found = holders(
        o=[
            connector("none"),
            connector("null", priority=1, senders_by_address="accepted-domains-and-null"),
            connector("any", priority=20, senders_by_address="any"),
        ]
    )
    assert names(found.first_by_address_alone(null=True)) == ["null", "null"]
    assert names(found.first_by_address_alone(null=False)) == ["any", "any"]
    assert holders(o=[connector("none")]).first_by_address_alone(null=False) is None


def test_what_was_found_is_kept_for_addresses_at_the_same_networks() -> None:
    index = directory(o=[connector("net", "192.0.2.0/24"), connector("host", "192.0.2.9")])
    one, two, other = (index.on_premises_by_address(address_key(f"192.0.2.{last}")) for last in (1, 2, 9))
    assert one is two
    assert other is not one


def test_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_index, "_KEPT", 2)
    monkeypatch.setattr(address_index, "_DOMAINS", 2)
    index = directory(o=[connector(f"c{last}", f"192.0.2.{last}") for last in range(4)])
    found = [index.on_premises_by_address(address_key(f"192.0.2.{last}")) for last in (0, 1, 2, 3, 0)]
    assert found[0] is not found[-1]
    assert [names(one.entries) for one in found] == [["c0"], ["c1"], ["c2"], ["c3"], ["c0"]]
    for before, after in pairwise(["a.example", "b.example", "c.example", "a.example"]):
        assert found[0].first("o", before) == found[0].first("o", after)
    assert len(found[0]._first) <= 2


def test_many_threads_may_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_index, "_KEPT", 2)
    monkeypatch.setattr(address_index, "_DOMAINS", 2)
    found = directory(o=[connector(f"c{number}", f"192.0.2.{number}") for number in range(16)])
    one = found.on_premises_by_address(address_key("192.0.2.1"))

    def ask(thread: int) -> int:
        for turn in range(3000):
            number = (thread + turn) % 16
            holder = found.on_premises_by_address(address_key(f"192.0.2.{number}"))
            assert names(holder.entries) == [f"c{number}"]
            one.first("o", f"d{number}.example")
        return thread

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(ask, range(8))) == list(range(8))
    finally:
        sys.setswitchinterval(interval)


def test_an_index_alone() -> None:
    assert AddressIndex[InboundEntry]().find((4, 1)) is NOBODY
    assert AddressIndex[InboundEntry]().find(None) is NOBODY


@pytest.mark.parametrize("sender", ["a@o.example", "a@elsewhere.example", ""])
@pytest.mark.parametrize("recipient", ["b@o.example", "b@elsewhere.example"])
def test_a_message_costs_the_same_however_many_connectors_hold_the_address(
    monkeypatch: pytest.MonkeyPatch, sender: str, recipient: str
) -> None:
    index = directory(o=[connector(f"c{n}", associated_accepted_domains=["d.o.example"]) for n in range(500)])
    session = SessionFacts("s", ADDRESS)
    envelope = parse_path(f"<{sender}>", smtputf8=False), parse_address(recipient)
    compared = []
    associated = InboundEntry.associated
    monkeypatch.setattr(
        InboundEntry, "associated", lambda entry, domain: compared.append(1) or associated(entry, domain)
    )
    for most in (2000, 50):
        compared.clear()
        mail = decide_mail(index, session, envelope[0])
        decide_recipient(index, session, *envelope, mail.attribution)
        assert len(compared) < most
