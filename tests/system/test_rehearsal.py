"""Proves that a rehearsal tells the truth: what it counts was sent, and what it predicts happens once it is enforced.

Peers of every kind send to, and take mail from, a gateway whose connectors are in rehearsal; the report's counts are
compared with what was sent. Then the connectors are enforced, and the same mail is sent again. The same for
`apply --dry-run`: the messages that it says would be refused are the ones that are. And every row that such traffic
left in the trace is decided again by the configuration it was decided by, with the same result.
"""

from __future__ import annotations

import json
import smtplib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from support.gateway import Gateway
from support.scenes import blind_context, connector, contoso, message, send

from gatepost.analysis.rehearsal.recorded import Effect
from gatepost.analysis.rehearsal.replay import Replay
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink
from gatepost.values import replace

BANK = {
    "name": "bank",
    "sender_domains": ["bank.example"],
    "restrict_domains_to_certificate": True,
    "tls_sender_certificate_name": "mail.bank.example",
}
ANN, JOE = "ann@contoso.example", "joe@contoso.example"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sends to the gateway from an address of its own. reason: why it would be refused, "" if it would not."""

    address: str
    messages: int
    reason: str
    tls: bool = True
    certificate: str = ""
    sender: str = "till@bank.example"


PEERS = {
    "in clear": Peer("127.0.0.11", 2, "530 5.7.0", tls=False),
    "no certificate": Peer("127.0.0.12", 3, "550 5.7.51"),
    "right certificate": Peer("127.0.0.13", 4, "", certificate="right"),
    "other name": Peer("127.0.0.14", 1, "550 5.7.51", certificate="other name"),
    "strange authority": Peer("127.0.0.15", 2, "550 5.7.51", certificate="strange"),
}
OTHERS = Peer("127.0.0.16", 2, "", tls=False, sender="mallory@elsewhere.example")  # no business of the bank's


@pytest.fixture(scope="module")
def certificates(pki: Pki, strange_pki: Pki) -> dict[str, Leaf]:
    return {
        "right": pki.client("mail.bank.example"),
        "other name": pki.client("mail.other.example"),
        "strange": strange_pki.client("mail.bank.example"),
    }


def send_all(server: Gateway, peers: Mapping[str, Peer], certificates: Mapping[str, Leaf]) -> dict[str, int]:
    """Each peer sends its messages, each to two recipients; how many of them were refused, by peer."""
    refused = dict.fromkeys(peers, 0)
    for name, peer in peers.items():
        for number in range(peer.messages):
            try:
                _send(server.port, peer, certificates, f"{name} {number}")
            except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused):
                refused[name] += 1
    return refused


def _send(port: int, peer: Peer, certificates: Mapping[str, Leaf], subject: str) -> None:
    options: dict[str, Any] = {"local_hostname": "client.example", "source_address": (peer.address, 0), "timeout": 20}
    with smtplib.SMTP("127.0.0.1", port, **options) as client:
        if peer.tls:
            context = blind_context()
            if peer.certificate:
                leaf = certificates[peer.certificate]
                context.load_cert_chain(leaf.chain, leaf.key)
            client.starttls(context=context)
        client.sendmail(peer.sender, [ANN, JOE], message(subject, sender=peer.sender))


def in_force(server: Gateway, resources: Mapping[str, Any]) -> None:
    """Apply, and wait until every worker has it."""
    server.apply(resources)
    server.wait_in_force()


def settled_rows(server: Gateway, count: int, **filters: str) -> list[dict[str, Any]]:
    """Trace rows, once there are so many: they reach the disk within a second."""
    end = time.monotonic() + 60
    while len(rows := server.trace(limit="10000", **filters)) < count:
        assert time.monotonic() < end, f"{len(rows)} rows of {filters}, not {count}"
        time.sleep(0.2)
    return rows


def _refusals(peers: Mapping[str, Peer]) -> int:
    """Rows of what is refused: one of a message without TLS (at MAIL), else one of each of its two recipients."""
    return sum(peer.messages * (2 if peer.tls else 1) for peer in peers.values() if peer.reason)


def all_tried(server: Gateway, recipients: set[str], *, since: str) -> None:
    """Return once mail to each was tried, however often, and not only kept because other mail to its host failed.

    By itself the same message may be tried each time, while the other waits a moment longer; so its turn is ordered.
    """

    def none_left() -> bool:
        rows = [row for to in recipients for row in server.trace(limit="10000", recipient=to, since=since)]
        attempts = [row for row in rows if row["event"] in {"SEND", "DEFER"} and "suspended" not in row["detail"]]
        left = recipients - {row["recipient"] for row in attempts}
        for recipient in left:
            server.cli("queue", "retry", "--recipient", recipient, expect=None)
        return not left

    wait_until(none_left, f"mail to {', '.join(sorted(recipients))} was tried")


def report(server: Gateway, *words: str, expect: int) -> dict[str, Any]:
    data: dict[str, Any] = server.cli("connector", "rehearsal", *words, json=True, expect=expect).data
    return data


def counts(found: Mapping[str, Any]) -> tuple[int, int, int]:
    return found["passed"], found["failed"], found["unknown"]


def bank(**fields: Any) -> dict[str, Any]:
    return contoso(inbound=[BANK | fields], mailboxes=[ANN, JOE])


@pytest.fixture
def mx(gateway: Callable[..., Gateway], pki: Pki) -> Callable[..., Gateway]:
    """mx(resources): a gateway with TLS that asks for client certificates."""
    return lambda resources: gateway(resources, certificates=[pki.leaf("mx1.contoso.example")], anchors=pki.root)


def test_what_an_inbound_rehearsal_counts_is_what_enforcing_refuses(
    mx: Callable[..., Gateway], certificates: dict[str, Leaf]
) -> None:
    server = mx(bank(mode="rehearse"))
    everybody = PEERS | {"elsewhere": OTHERS}
    assert not any(send_all(server, everybody, certificates).values()), "a rehearsal lets everything through"
    sent = sum(peer.messages for peer in PEERS.values())
    settled_rows(server, 2 * (sent + OTHERS.messages), event="RECEIVE")

    found = report(server, "bank", expect=1)
    failing = sum(peer.messages for peer in PEERS.values() if peer.reason)
    assert (found["messages"], *counts(found)) == (sent, sent - failing, failing, 0)
    assert {(one["peer"], one["reason"]): one["messages"] for one in found["groups"]} == {
        (peer.address, peer.reason): peer.messages for peer in PEERS.values() if peer.reason
    }
    assert {one["peer"]: (one["passed"], one["failed"]) for one in found["peers"]} == {
        peer.address: (0, peer.messages) if peer.reason else (peer.messages, 0) for peer in PEERS.values()
    }
    days = [counts(day) for day in found["days"]]  # two of them at midnight
    assert tuple(map(sum, zip(*days, strict=True))) == counts(found)
    for group in found["groups"]:
        (row, _) = server.cli("trace", "show", group["sample"], json=True).data[:2]
        assert row["peer_address"] == group["peer"]
        assert row["detail"]["would_refuse"].startswith(group["reason"])
    replayed = report(server, "bank", "--replay", expect=1)
    assert (counts(replayed), replayed["peers"]) == (counts(found), found["peers"])
    assert report(server, "bank", "--since", "2100-01-01", expect=3)["answer"] is None

    in_force(server, bank())
    began = time.time()
    assert send_all(server, everybody, certificates) == {
        name: peer.messages if peer.reason else 0 for name, peer in everybody.items()
    }
    settled_rows(server, _refusals(PEERS), event="REFUSE")
    after = report(server, "bank", "--since", _stamp(began), expect=1)
    assert {(one["peer"], one["reason"]) for one in after["groups"]} == {
        (peer.address, peer.reason) for peer in PEERS.values() if peer.reason
    }
    assert after["passed"] == PEERS["right certificate"].messages
    _decided_again(server, bank())


def test_a_connector_that_is_met_is_ready(mx: Callable[..., Gateway], certificates: dict[str, Leaf]) -> None:
    server = mx(bank(mode="rehearse"))
    send_all(server, {"right": PEERS["right certificate"]}, certificates)
    settled_rows(server, 8, event="RECEIVE")
    run = server.cli("connector", "rehearsal", "bank")
    assert run.stdout.splitlines()[-1] == "ready to enforce: none of 4 messages would have been refused"


def test_a_dry_run_says_which_messages_a_lock_down_refuses(
    mx: Callable[..., Gateway], certificates: dict[str, Leaf]
) -> None:
    nobody = contoso(inbound=[], mailboxes=[ANN, JOE])
    server = mx(nobody)
    everybody = PEERS | {"elsewhere": OTHERS}
    send_all(server, everybody, certificates)
    sent = sum(peer.messages for peer in everybody.values())
    settled_rows(server, 2 * sent, event="RECEIVE")

    lock = BANK | {"name": "lock", "sender_domains": ["*"]}
    file = server.folder.write("lock.json", _json(contoso(inbound=[lock], mailboxes=[ANN, JOE])))
    run = server.cli("apply", "-f", str(file), "--dry-run", json=True)
    radius = run.data["blast_radius"]
    assert [part["part"] for part in radius["parts"]] == ["inbound connector 'lock' of contoso"]
    assert (radius["senders"], radius["recipients"]) == (["*"], ["contoso.example"])
    refused = [one for one in radius["differences"] if one["kind"] == "accepted -> refused"]
    (one,) = refused
    right = PEERS["right certificate"].messages
    assert radius["inbound"]["messages"] == sent
    assert one["messages"] == sent - right
    assert "warning: inbound connector 'lock'" in run.stderr, "a trap that the change brings"
    (row, _) = server.cli("trace", "show", one["sample"], json=True).data[:2]
    assert row["peer_address"] != PEERS["right certificate"].address
    assert server.cli("export", json=True).data == nobody, "nothing was changed"

    in_force(server, contoso(inbound=[lock], mailboxes=[ANN, JOE]))
    again = send_all(server, everybody, certificates)
    assert sum(again.values()) == one["messages"]
    assert again["right certificate"] == 0
    settled_rows(server, _refusals(everybody | {"elsewhere": replace(OTHERS, reason="530 5.7.0")}), event="REFUSE")
    settled_rows(server, 2 * (sent + right), event="RECEIVE")
    back = server.folder.write("back.json", _json(nobody))
    radius = server.cli("apply", "-f", str(back), "--dry-run", json=True).data["blast_radius"]
    by_kind = {one["kind"]: one["messages"] for one in radius["differences"]}
    assert by_kind["weaker requirement"] >= right, "and the way back weakens"


NAME = "mx.partner.example"
VALIDATION = {"tls_settings": "domain-validation", "tls_domain": NAME}


@dataclass(frozen=True, slots=True)
class Partner:
    """Who takes mail from the gateway. word: what it would be held for, "" if it would not."""

    messages: int
    word: str
    result_type: str = ""
    certificate: str = ""
    behaviour: Behaviour | None = None


PARTNERS = {
    "good": Partner(3, "", certificate="good"),
    "busy": Partner(1, "", certificate="good", behaviour=Behaviour(replies={"RCPT": "451 4.3.2 later"})),
    "clear": Partner(2, "STARTTLS is required to send mail", "starttls-not-supported"),
    "renamed": Partner(1, "SubjectMismatch", "certificate-host-mismatch", "renamed"),
    "expired": Partner(2, "CertificateExpired", "certificate-expired", "expired"),
    "strange": Partner(1, "UntrustedRoot", "certificate-not-trusted", "strange"),
}


def outbound(partners: Mapping[str, Sink], anchors: Pki, **fields: Any) -> dict[str, Any]:
    """A connector for each partner, and a last one that has none."""
    names = [*partners, "idle"]
    hosts = [partners[name].address if name in partners else "127.0.0.1:1" for name in names]
    return contoso(
        outbound=[
            connector(f"{name}.example", host, **VALIDATION, trust_anchors=str(anchors.root), **fields)
            for name, host in zip(names, hosts, strict=True)
        ]
    )


def send_to_all(server: Gateway) -> None:
    for name, partner in PARTNERS.items():
        for number in range(partner.messages):
            send(server.port, f"bob{number}@{name}.example", content=message(name))


def test_what_an_outbound_rehearsal_counts_is_what_enforcing_holds(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, strange_pki: Pki
) -> None:
    made = {
        "good": pki.leaf(NAME),
        "renamed": pki.leaf("old.partner.example"),
        "expired": pki.expired(NAME),
        "strange": strange_pki.leaf(NAME),
    }
    partners = {
        name: sink(certificate=made.get(one.certificate), behaviour=one.behaviour) for name, one in PARTNERS.items()
    }
    rehearsing = outbound(partners, pki, mode="rehearse")
    server = gateway(rehearsing, settings={"queue": {"retry": ["1s"]}})
    send_to_all(server)
    messages = sum(one.messages for one in PARTNERS.values())
    settled_rows(server, messages - 1, event="SEND")
    settled_rows(server, 3, recipient="@busy.example", event="DEFER")  # retries of one message
    partners["busy"].behaviour = Behaviour()
    settled_rows(server, messages, event="SEND")

    for name, partner in PARTNERS.items():
        found = report(server, f"{name}.example", expect=1 if partner.word else 0)
        passed, failed = (0, partner.messages) if partner.word else (partner.messages, 0)
        assert counts(found) == (passed, failed, 0), name
        groups = [(one["reason"], one["result_type"], one["messages"]) for one in found["groups"]]
        assert groups == ([(partner.word, partner.result_type, failed)] if failed else []), name
        replayed = report(server, f"{name}.example", "--replay", expect=1 if partner.word else 0)
        assert counts(replayed) == counts(found), name
    assert report(server, "idle.example", expect=3)["messages"] == 0
    _decided_again(server, rehearsing)

    enforced = outbound(partners, pki)
    file = server.folder.write("enforced.json", _json(enforced))
    radius = server.cli("apply", "-f", str(file), "--dry-run", json=True).data["blast_radius"]
    (held,) = [one for one in radius["differences"] if one["kind"] == "delivered -> held"]
    assert held["messages"] == sum(one.messages for one in PARTNERS.values() if one.word)
    assert {one["peer"]: one["messages"] for one in held["peers"]} == {
        f"mail to {name}.example": one.messages for name, one in PARTNERS.items() if one.word
    }

    in_force(server, enforced)
    began = time.time()
    send_to_all(server)
    settled_rows(server, 4, event="SEND", since=_stamp(began))
    for name, partner in PARTNERS.items():
        all_tried(server, {f"bob{number}@{name}.example" for number in range(partner.messages)}, since=_stamp(began))
        found = report(server, f"{name}.example", "--since", _stamp(began), expect=1 if partner.word else 0)
        assert counts(found) == ((0, partner.messages, 0) if partner.word else (partner.messages, 0, 0)), name
        assert {one["reason"] for one in found["groups"]} == ({partner.word} if partner.word else set()), name
    _decided_again(server, enforced, since=began)


def test_wrong_use_says_what_to_do(gateway: Callable[..., Gateway]) -> None:
    server = gateway(contoso(inbound=[BANK], outbound=[connector("bank", "127.0.0.1:1")]))
    assert (
        "there is no connector 'nobody'; there are:" in server.cli("connector", "rehearsal", "nobody", expect=2).stderr
    )
    assert "(--organization or --direction)" in server.cli("connector", "rehearsal", "bank", expect=2).stderr
    assert "there is no mail flow rule" in server.cli("connector", "rehearsal", "bank", "--rule", expect=2).stderr
    run = server.cli("connector", "rehearsal", "bank", "--direction", "inbound", expect=3)
    assert run.stdout.splitlines()[-1] == "inconclusive: no matching mail in this time"


def _decided_again(server: Gateway, resources: Mapping[str, Any], *, since: float = 0.0) -> None:
    """Every row that these resources decided is decided by them again, with the same result."""
    directory = Directory(parse(resources))
    rows = [TraceEvent(**row) for row in server.trace(limit="10000", **({"since": _stamp(since)} if since else {}))]
    newest = max(row.detail.get("configuration", 0) for row in rows)
    decided = [row for row in rows if row.detail.get("configuration") == newest]
    assert decided
    for row in decided:
        if row.event == "DELIVER":
            continue
        again = Replay(directory).decide(row)
        expected = {"RECEIVE": Effect.ACCEPTED, "REFUSE": Effect.REFUSED, "SEND": Effect.DELIVERED}.get(
            row.event, Effect.HELD if row.result_type else Effect.DELIVERED
        )
        assert (again.outcome, again.connector, again.requirement) == (expected, row.connector, row.requirement), row
        if expected is Effect.REFUSED:
            assert again.reply == row.reply.partition(" [")[0]
        if expected is Effect.HELD:
            assert again.result_type == row.result_type


def _json(resources: Mapping[str, Any]) -> str:
    return json.dumps(resources)


def _stamp(at: float) -> str:
    """To the millisecond before."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").partition("+")[0]
