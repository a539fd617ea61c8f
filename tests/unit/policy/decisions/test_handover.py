from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.decisions.forwarding import Returned
from gatepost.policy.decisions.handover import (
    ORIGIN_OCTETS,
    Origin,
    decide_handed_mail,
    decide_handed_recipient,
    read_origin,
    refused_as_removed,
    refused_stranger,
    write_origin,
)
from gatepost.policy.decisions.home import Nodes
from gatepost.protocols.smtp.grammar import Path
from gatepost.protocols.smtp.replies import Reply

Build = Callable[[str], Directory]
Session = Callable[..., SessionFacts]
MakePath = Callable[[str], Path]

MX1, MX2 = "mx1.o.example", "mx2.o.example"
HERE = Nodes(MX2, "o-site")
RESOURCES = f"""
[organization.o]
home = "{MX2}"
accepted_domain = [{{ name = "o.example" }}, {{ name = "relay.example", type = "internal-relay" }}]
mailbox = [{{ address = "ann@o.example" }}]
[organization.p]
home = "{MX1}"
accepted_domain = [{{ name = "p.example" }}]
"""
ORIGIN = Origin("o", "incoming", "5e55", "0cae", facts={"peer": "192.0.2.1", "connector": "partner"})


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


texts = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=40)
addresses = st.sampled_from(["", "ann@a.example", '"a b"@a.example', "é@ö.example", f"{'a' * 64}@a.example"])


@given(
    st.builds(
        Origin,
        organization=texts,
        direction=st.sampled_from(["incoming", "originating"]),
        session=texts,
        message=texts,
        forwarded_by=addresses,
        return_path=addresses,
        facts=st.dictionaries(texts, texts.filter(bool), max_size=20),
    )
)
def test_what_is_written_is_read(origin: Origin) -> None:
    assert read_origin(write_origin(origin)) == origin


def test_what_is_written_is_never_longer_than_what_is_read() -> None:
    longest = (
        "o" * 63,
        "originating",
        "s" * 40,
        "m" * 40,
        *[f"{'\U0001f4ee' * 16}@{'a' * 60}.{'a' * 60}.{'a' * 60}.example"] * 2,
    )
    for letter, kept in (("x", range(8, 20)), ("\U0001f4ee", range(1, 8))):
        text = write_origin(Origin(*longest, {f"fact{n:02}": letter * 9999 for n in range(99)}))
        assert len(text) <= ORIGIN_OCTETS
        found = read_origin(text)
        assert list(found.facts) == [f"fact{n:02}" for n in range(len(found.facts))]
        assert len(found.facts) in kept
        assert set(found.facts.values()) == {letter * 400}


def test_what_says_nothing_is_left_out_and_what_a_later_version_says_is_passed_over() -> None:
    assert read_origin(write_origin(Origin("o", "incoming", facts={"peer": ""}))).facts == {}
    assert read_origin(encoded({"organization": "o", "direction": "incoming", "colour": "blue"})).organization == "o"


@pytest.mark.parametrize(
    "text",
    [
        "a" * (ORIGIN_OCTETS + 1),
        "a",
        "!!!!",
        encoded([]),
        encoded({"organization": "o"}),
        encoded({"organization": 1, "direction": "incoming"}),
        encoded({"organization": "o", "direction": "none"}),
        encoded({"organization": "o", "direction": "incoming", "facts": {str(n): "" for n in range(21)}}),
        encoded({"organization": "o", "direction": "incoming", "session": "x" * 401}),
        encoded({"organization": "o", "direction": "incoming", "facts": {"peer": "two\nlines"}}),
        encoded({"organization": "o", "direction": "incoming", "forwarded_by": "no address"}),
        encoded({"organization": "o", "direction": "incoming", "return_path": "a@b.example> AUTH=<c@d.example"}),
    ],
)
def test_what_no_node_writes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"XGATEPOST|base64|padding|characters|address|local-part|domain"):
        read_origin(text)


def test_a_stranger_is_told_why_and_who_reads_the_trace_even_more(directory: Build) -> None:
    verdict = refused_stranger(directory(RESOURCES), "its certificate has expired")
    assert verdict.reply.text.startswith("554 5.7.1 This port is for nodes of one site")
    assert (verdict.accepted, verdict.connector, verdict.requirement) == (
        False,
        "internal",
        "authenticated(a node of the site)",
    )
    assert verdict.reasons == ("its certificate has expired",)


def test_mail_of_a_node_that_was_removed_stays_with_it(directory: Build) -> None:
    verdict = refused_as_removed(directory(RESOURCES), "mx3 is not a node of the site")
    assert verdict.reply.text.startswith("421 4.7.1 Your certificate is not that of a node")
    assert (verdict.accepted, verdict.reasons) == (False, ("mx3 is not a node of the site",))


@pytest.mark.parametrize(
    ("origin", "reply", "why"),
    [
        (
            write_origin(ORIGIN),
            "250 2.1.0",
            "accepted it as incoming mail of o by connector 'partner' and hands it over",
        ),
        (
            write_origin(Origin("o", "originating", facts={"user": "ann@o.example"})),
            "250 2.1.0",
            "originating mail of o from ann@o.example, who logged in, and hands it over",
        ),
        (write_origin(Origin("o", "incoming")), "250 2.1.0", "incoming mail of o and hands it over"),
        (write_origin(Origin("q", "incoming")), "451 4.3.5", "q is not in the resources of this node"),
        ("", "550 5.7.1", "did not send the origin of the message (XGATEPOST): does"),
        ("!", "501 5.5.4", ""),
    ],
)
def test_mail_of_another_node(directory: Build, session: Session, origin: str, reply: str, why: str) -> None:
    verdict = decide_handed_mail(directory(RESOURCES), session(node=MX1), origin)
    assert verdict.reply.text.startswith(reply)
    assert verdict.accepted == reply.startswith("250")
    assert why in verdict.reasons[0]
    assert (verdict.connector, verdict.requirement, verdict.basis) == ("internal", f"authenticated({MX1})", "node")


@pytest.mark.parametrize(
    ("organization", "recipient", "reply", "why"),
    [
        ("o", "ann@o.example", "250", ""),
        ("o", "nobody@o.example", "550 5.1.1", "is not one of its mailboxes"),
        ("o", "x@relay.example", "250", ""),
        ("o", "x@far.example", "250", ""),  # where it came in, it was decided that o may
        ("p", "ann@o.example", "250", ""),  # between customers
        ("o", "x@p.example", "451 4.4.6", f"here p lives on {MX1}, and {MX1} thinks it lives here"),
        ("p", "x@far.example", "451 4.4.6", f"here p lives on {MX1}"),
        ("q", "x@far.example", "451 4.3.5", "q is not in the resources of this node"),
    ],
)
def test_recipients_of_another_node(  # noqa: PLR0917 - a row and the fixtures
    directory: Build, session: Session, path: MakePath, organization: str, recipient: str, reply: str, why: str
) -> None:
    origin = Origin(organization, "originating")
    verdict = decide_handed_recipient(directory(RESOURCES), session(node=MX1), HERE, origin, path(recipient))
    assert verdict.reply.text.startswith(reply)
    assert why in verdict.reasons[-1]
    assert (verdict.organization, verdict.direction) == (organization, "originating")


def test_what_a_rewritten_address_stands_for_is_known_at_home(
    directory: Build, session: Session, path: MakePath
) -> None:
    for original, reply in ((path("eve@far.example"), "250 2.1.5"), (None, "550 5.1.1")):
        back = Returned(path("SRS0=x@o.example"), original, Reply(550, "5.1.1", ("no longer",)), "it is rewritten")
        words = directory(RESOURCES), session(node=MX1), HERE, ORIGIN
        verdict = decide_handed_recipient(*words, back.recipient, back)
        assert verdict.reply.text.startswith(reply)
        assert verdict.reasons[-1] == "it is rewritten"
