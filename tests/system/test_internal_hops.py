"""Proves that mail goes to the node where its organization lives, by TLS with the site's certificates, or waits.

Two real gateways with a store each (`support.site_scene`). What a stranger or a slip can do to the hop between them is
tried: certificates of others, one that is not a node's, somebody in the other node's place, nodes of two minds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.gateway import Gateway
from support.scenes import ALICE, STRANGER, connector, message, send
from support.site_scene import KEY, KEY_VARIABLE, MX1, MX2, SITE, URIS, TwoNodes, organizations

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

ANN, BOB, TOM, KEN = "ann@contoso.example", "bob@fabrikam.example", "tom@contoso.example", "ken@contoso.example"
BIG = 12 * 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def master_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        yield


@pytest.fixture(scope="module")
def far() -> Iterator[Sink]:
    """Where contoso's connector sends what leaves."""
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def nodes(master_key: None, far: Sink, pki: Pki) -> Iterator[TwoNodes]:
    everywhere = connector("*", f"127.0.0.1:{far.port}", name="everything")
    with ExitStack() as stack:
        resources = organizations(outbound=[everywhere])
        yield TwoNodes(stack, resources=resources, certificates=[pki.leaf(MX1, names=[MX1, MX2])])


def the_only(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = rows
    return row


def arrived(node: Gateway, address: str, subject: str) -> Any:
    """The message of that subject, once it is in the mailbox."""

    def found() -> list[Any]:
        return [mail for mail in node.maildir(address) if mail.field("Subject") == subject]

    return wait_until(found, f"{subject!r} for {address}\n{node.log()}", timeout=90)[0]


def sent_home(node: Gateway, recipient: str, subject: str) -> dict[str, Any]:
    """The row of the hop."""
    rows = lambda: [row for row in node.trace(recipient=recipient, event="SEND") if row["subject"] == subject]  # noqa: E731 - one use
    return the_only(wait_until(rows, f"{subject!r} sent\n{node.log()}", timeout=90))


def test_mail_goes_home_over_tls_by_the_certificates_of_the_site(nodes: TwoNodes) -> None:
    send(nodes.mx1.port, ANN, sender=STRANGER, content=message("goes home"))
    mail = arrived(nodes.mx2, ANN, "goes home")
    assert [field.partition(" with ")[2].partition(" ")[0] for field in mail.fields("Received")] == ["ESMTPS", "ESMTP"]
    assert not nodes.mx1.maildir(ANN)
    row = sent_home(nodes.mx1, ANN, "goes home")
    assert row["requirement"] == f"authenticated({URIS[MX2]})"
    assert row["detail"]["requirement_sources"] == ["internal:site"]
    assert row["achieved"] == "none/authenticated"
    assert (row["tls_version"], row["tls"]["certificate"]["uris"]) == ("TLSv1.3", [URIS[MX2]])
    assert row["tls_group"]  # forward secrecy
    received = the_only(nodes.mx2.wait_trace(message=row["detail"]["handover"]["message"], event="RECEIVE"))
    assert (received["connector"], received["requirement"]) == ("internal", f"authenticated({MX1})")
    assert received["tls"]["certificate"]["uris"] == [URIS[MX1]]


def test_either_id_finds_the_message_on_either_node(nodes: TwoNodes) -> None:
    send(nodes.mx1.port, ANN, sender=STRANGER, content=message("two nodes, one trace"))
    arrived(nodes.mx2, ANN, "two nodes, one trace")
    row = sent_home(nodes.mx1, ANN, "two nodes, one trace")
    there = row["detail"]["handover"]
    for node, event in ((nodes.mx1, "SEND"), (nodes.mx2, "RECEIVE")):
        for wanted in (
            {"session": row["session"]},
            {"session": there["session"]},
            {"message": row["message"]},
            {"message": there["message"]},
        ):
            found = node.wait_trace(**wanted, event=event)
            assert "two nodes, one trace" in {one["subject"] for one in found}, (node.hostname, wanted)
    # The id of the session by which it came in is that of every row on both nodes.
    assert [one["event"] for one in nodes.mx2.trace(session=row["session"])] == ["DELIVER", "RECEIVE"]
    shown = nodes.mx2.cli("trace", "show", row["session"]).stdout
    assert f"node: {MX1}; message: {row['message']}" in shown


def test_what_was_decided_where_it_came_in_is_not_decided_again(nodes: TwoNodes, far: Sink) -> None:
    """By its address mx1 is no server of contoso's, and by its sender the mail is nobody's: it leaves all the same."""
    send(nodes.mx1.port, "joe@far.example", sender=ALICE, content=message("leaves by its home"))
    kept = wait_until(
        lambda: [one for one in far.messages if b"leaves by its home" in one.data], "it leaves", timeout=90
    )
    assert kept[0].recipients == ("joe@far.example",)
    hop = sent_home(nodes.mx1, "joe@far.example", "leaves by its home")
    assert hop["peer_host"] == MX2
    left = sent_home(nodes.mx2, "joe@far.example", "leaves by its home")
    assert (left["organization"], left["direction"], left["connector"]) == ("contoso", "originating", "everything")
    assert left["session"] == hop["session"]


def test_mail_between_customers_stays_inside_whatever_the_senders_connector_takes(nodes: TwoNodes, far: Sink) -> None:
    send(nodes.mx2.port, BOB, sender=ALICE, content=message("between customers"))
    arrived(nodes.mx1, BOB, "between customers")
    row = sent_home(nodes.mx2, BOB, "between customers")
    assert (row["organization"], row["peer_host"], row["tls_version"]) == ("contoso", MX1, "TLSv1.3")
    send(nodes.mx1.port, BOB, sender=STRANGER, content=message("on the same node"))
    arrived(nodes.mx1, BOB, "on the same node")
    assert not [one for one in far.messages if b"between customers" in one.data]


def test_forwarding_is_expanded_once(nodes: TwoNodes, far: Sink) -> None:
    """Tom keeps a copy and forwards to bob, who lives elsewhere; ken forwards out of the site, by his home."""
    send(nodes.mx1.port, [TOM, KEN], sender=STRANGER, content=message("sent on"))
    arrived(nodes.mx2, TOM, "sent on")
    copy = arrived(nodes.mx1, BOB, "sent on")
    assert copy.fields("Delivered-To") == [BOB, TOM]
    left = wait_until(lambda: [one for one in far.messages if b"sent on" in one.data], "ken's copy", timeout=90)
    assert [one.recipients for one in left] == [("ken@far.example",)]
    assert left[0].data.count(b"Delivered-To: ken@contoso.example\r\n") == 1
    assert left[0].reverse_path.startswith("SRS0=")
    assert left[0].reverse_path.endswith("@contoso.example")
    assert len([mail for mail in nodes.mx1.maildir(BOB) if mail.field("Subject") == "sent on"]) == 1
    # Ken's home has rewritten the sender. Whichever node hears of a failure, it is the home that knows whom to tell.
    for node, subject in ((nodes.mx1, "told to mx1"), (nodes.mx2, "told to mx2")):
        send(node.port, left[0].reverse_path, sender="", content=message(subject))
        told = lambda: [one for one in far.messages if subject.encode() in one.data]  # noqa: B023, E731 - used here alone
        notice = wait_until(told, f"{subject}\n{node.log()}", timeout=90)[0]
        assert (notice.reverse_path, notice.recipients) == ("", (STRANGER,))


def test_requiretls_and_its_opposite(nodes: TwoNodes) -> None:
    send(nodes.mx1.port, ANN, sender=STRANGER, content=message("with REQUIRETLS"), tls=True, mail=["REQUIRETLS"])
    arrived(nodes.mx2, ANN, "with REQUIRETLS")
    row = sent_home(nodes.mx1, ANN, "with REQUIRETLS")
    assert row["detail"]["requiretls"] == "passed on"
    assert row["detail"]["requirement_sources"] == ["internal:site", "requiretls"]
    received = the_only(nodes.mx2.wait_trace(message=row["detail"]["handover"]["message"], event="RECEIVE"))
    assert received["detail"]["requiretls"] == "asked for"
    waived = message("without").replace(b"Subject", b"TLS-Required: No\r\nSubject")
    send(nodes.mx1.port, ANN, sender=STRANGER, content=waived)
    arrived(nodes.mx2, ANN, "without")
    assert sent_home(nodes.mx1, ANN, "without")["requirement"] == f"authenticated({URIS[MX2]})"


def test_a_message_as_large_as_is_taken(nodes: TwoNodes) -> None:
    line = b"0123456789abcdef" * 4 + b"\r\n"
    content = message("large") + line * (BIG // len(line))
    send(nodes.mx1.port, ANN, sender=STRANGER, content=content, timeout=90)
    mail = arrived(nodes.mx2, ANN, "large")
    assert hashlib.sha256(mail.body).digest() == hashlib.sha256(content.partition(b"\r\n\r\n")[2]).digest()


def test_explain_and_status_say_so(nodes: TwoNodes) -> None:
    run = nodes.mx1.cli("explain", "--from", STRANGER, "--to", ANN, expect=0)
    assert f"to the node {MX2}:{nodes.port(nodes.mx2)}" in run.stdout
    said = " ".join(run.stdout.split())
    assert f"authenticated({URIS[MX2]}) (required by internal:site)" in said
    assert "contoso lives on the node mx2.contoso.example" in run.stdout
    outbound = nodes.mx1.cli("explain", "--from", STRANGER, "--to", ANN, json=True).data["outbound"]
    assert (outbound["way"], outbound["requirement_sources"]) == ("internal", ["internal:site"])
    there = nodes.mx2.cli("explain", "--from", STRANGER, "--to", ANN, json=True).data["outbound"]
    assert there["way"] == "mailbox"
    assert "OK: rejects non-members of the site" in nodes.mx2.cli("status", expect=None).stdout


def test_a_node_that_is_removed_is_none_any_more_for_the_next_message_of_an_open_session(nodes: TwoNodes) -> None:
    nodes.mx2.wait_in_force()  # what it takes up later ends the connections that it keeps
    send(nodes.mx2.port, BOB, sender=STRANGER, content=message("as a node"))
    arrived(nodes.mx1, BOB, "as a node")
    nodes.mx1.cli("site", "nodes", "remove", MX2)
    said = f"{MX2} is not a node of {SITE} any more"
    nodes.mx1.wait_in_force()
    send(nodes.mx2.port, BOB, sender=STRANGER, content=message("as none any more"))

    def refused() -> list[dict[str, Any]]:
        rows = nodes.mx1.trace(event="REFUSE")
        return [row for row in rows if "421 4.7.1" in row["reply"] and said in str(row["detail"])]

    wait_until(refused, f"the open session is refused: {nodes.mx1.trace(event='REFUSE')}", timeout=30)

    def waiting() -> bool:
        rows = nodes.mx2.trace(event="DEFER")
        return any("554 5.7.1 This port is for nodes" in row["reply"] for row in rows)

    wait_until(waiting, "and so is the next one", timeout=60)
    nodes.join(nodes.mx2, "--replace")
    arrived(nodes.mx1, BOB, "as none any more")
