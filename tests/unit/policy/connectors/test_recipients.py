from __future__ import annotations

import tomllib
from collections.abc import Callable

import pytest

from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.recipients import MailboxIndex, RecipientLists
from gatepost.protocols.smtp.grammar import Path

TEXT = """
[organization.a]
subaddress_separator = "+"
[[organization.a.accepted_domain]]
name = "a.example"
[[organization.a.accepted_domain]]
name = "alias.example"
[[organization.a.mailbox]]
address = "Ann@a.example"
aliases = ["info@a.example", "Ann@alias.example"]
[[organization.a.mailbox]]
address = "ann+own@a.example"
[[organization.a.mailbox]]
address = '"two words"@a.example'
aliases = ["two@a.example"]
[[organization.b.accepted_domain]]
name = "bücher.example"
[[organization.b.mailbox]]
address = "leser@bücher.example"
"""


@pytest.fixture(scope="module")
def index() -> MailboxIndex:
    return MailboxIndex(parse(tomllib.loads(TEXT)).organizations)


@pytest.mark.parametrize(
    ("address", "mailbox", "by", "forward_path"),
    [
        ("Ann@a.example", "Ann@a.example", "Ann@a.example", "Ann@a.example"),
        ("aNN@A.example", "Ann@a.example", "Ann@a.example", "aNN@A.example"),
        ("Info@a.example", "Ann@a.example", "info@a.example", "Ann@a.example"),
        ("ann@alias.example", "Ann@a.example", "Ann@alias.example", "Ann@a.example"),
        # what is behind the separator
        ("ann+Tag@a.example", "Ann@a.example", "Ann@a.example", "ann+Tag@a.example"),
        ("info+Tag@a.example", "Ann@a.example", "info@a.example", "Ann+Tag@a.example"),
        ("ann+x+y@a.example", "Ann@a.example", "Ann@a.example", "ann+x+y@a.example"),
        ("ann+@a.example", "Ann@a.example", "Ann@a.example", "ann+@a.example"),
        # the whole address goes before, and the longer one
        ("ann+own@a.example", "ann+own@a.example", "ann+own@a.example", "ann+own@a.example"),
        ("ann+own+x@a.example", "ann+own@a.example", "ann+own@a.example", "ann+own+x@a.example"),
        ('"ann"@a.example', "Ann@a.example", "Ann@a.example", '"ann"@a.example'),
        ('"two words"@a.example', '"two words"@a.example', '"two words"@a.example', '"two words"@a.example'),
        ("two+tag@a.example", '"two words"@a.example', "two@a.example", '"two words"@a.example'),
        (
            "leser@BÜCHER.example",
            "leser@xn--bcher-kva.example",
            "leser@xn--bcher-kva.example",
            "leser@BÜCHER.example",
        ),
    ],
)
def test_the_mailbox_of_an_address(index: MailboxIndex, address: str, mailbox: str, by: str, forward_path: str) -> None:
    found = index.find(address)
    assert found is not None
    assert (found.mailbox.address, found.by, found.forward_path) == (mailbox, by, forward_path)
    assert found.is_alias == (by != mailbox)


@pytest.mark.parametrize(
    "address",
    [
        "bob@a.example",
        "bob+tag@a.example",
        "+tag@a.example",
        "leser+tag@bücher.example",  # that organization has no separator
        "ann@elsewhere.example",
        "ann",
        "a..b@a.example",
        "",
    ],
)
def test_addresses_without_a_mailbox(index: MailboxIndex, address: str) -> None:
    assert index.find(address) is None


def test_the_domains_that_have_an_address_here(index: MailboxIndex) -> None:
    assert index.domains == {"a.example", "alias.example", "xn--bcher-kva.example"}


def test_without_a_separator_every_address_is_one_of_its_own() -> None:
    index = MailboxIndex(parse(tomllib.loads(TEXT.replace('subaddress_separator = "+"', ""))).organizations)
    assert index.find("ann+tag@a.example") is None
    assert index.find("ann+own@a.example") is not None


def test_a_detail_that_would_make_the_address_too_long_is_left_out() -> None:
    text = TEXT.replace('"Ann@a.example"', f'"{"x" * 200}@a.example"')
    found = MailboxIndex(parse(tomllib.loads(text)).organizations).find(f"info+{'t' * 100}@a.example")
    assert found is not None
    assert found.forward_path == f"{'x' * 200}@a.example"


def test_a_list_of_recipients_takes_case_and_details_alike(path: Callable[[str], Path]) -> None:
    text = {
        "subaddress_separator": "+",
        "accepted_domain": [
            {"name": "r.example", "type": "internal-relay", "recipients": ["Ann@r.example"]},
            {"name": "s.example", "type": "internal-relay"},
        ],
    }
    lists = RecipientLists(parse({"organization": {"o": text}}).organizations)
    known = {
        address: lists.holds("r.example", path(address))
        for address in ("ANN@r.example", "ann+x@r.example", "b@r.example")
    }
    assert known == {"ANN@r.example": True, "ann+x@r.example": True, "b@r.example": False}
    assert not lists.holds("s.example", path("ann@s.example"))


@pytest.mark.parametrize(
    ("address", "without"),
    [
        ("Ann@a.example", "ann@a.example"),
        ("ann+Tag+more@A.example", "ann@a.example"),
        ('"nobody+x"@a.example', "nobody@a.example"),
        ("ann+own@a.example", "ann@a.example"),
        ("+x@a.example", "+x@a.example"),
        ("leser+x@b\xfccher.example", "leser+x@xn--bcher-kva.example"),
        ("a+b@elsewhere.example", "a+b@elsewhere.example"),
        ("No Address", "no address"),
    ],
)
def test_an_address_without_its_detail_is_the_same_whether_it_has_a_mailbox(
    index: MailboxIndex, address: str, without: str
) -> None:
    assert index.without_detail(address) == without
