from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatepost.policy.decisions.recipient_validation import judge_by_list, question_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.policy.connectors.directory import Directory
    from gatepost.protocols.smtp.grammar import Path

    Build = Callable[[str], Directory]
    MakePath = Callable[[str], Path]

LISTED = """
[organization.o]
subaddress_separator = "+"
[[organization.o.accepted_domain]]
name = "o.example"
type = "internal-relay"
recipient_validation = "list"
recipients = ["Ann@o.example", "\\"b b\\"@o.example"]
[[organization.o.accepted_domain]]
name = "*.sub.example"
type = "internal-relay"
recipient_validation = "list"
recipients = ["c@x.sub.example"]
[[organization.o.accepted_domain]]
name = "open.example"
type = "internal-relay"
[[organization.o.accepted_domain]]
name = "own.example"
[[organization.o.mailbox]]
address = "box@o.example"
"""


@pytest.mark.parametrize(
    "recipient", ["box@o.example", "Box+x@o.example", "x@open.example", "x@own.example", "x@y.example"]
)
def test_nobody_is_asked_about_a_mailbox_or_a_domain_without_validation(
    directory: Build, path: MakePath, recipient: str
) -> None:
    assert question_of(directory(LISTED), path(recipient)) is None


@pytest.mark.parametrize(
    ("recipient", "known"),
    [
        ("ann@o.example", True),
        ("ANN@O.Example", True),
        ('"ann"@o.example', True),
        ("ann+x+y@o.example", True),
        ('"b b"@o.example', True),
        ("+ann@o.example", False),
        ("ann.x@o.example", False),
        ("c@o.example", False),
        ("c@x.sub.example", True),
        ("c@y.sub.example", False),
    ],
)
def test_a_list_knows_its_addresses_and_their_subaddresses(
    directory: Build,
    path: MakePath,
    recipient: str,
    known: bool,
) -> None:
    resources = directory(LISTED)
    question = question_of(resources, path(recipient))
    assert question is not None
    reply, reason = judge_by_list(resources, question)
    assert (reply is None) is known
    assert ("is in the recipient list of" in reason) is known
    if reply is not None:
        assert reply.text == "550 5.1.1 Recipient address rejected: no such mailbox here"
