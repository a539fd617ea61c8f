"""Proves what a kill leaves behind at each named step: nothing acknowledged is lost, and what is doubled is known.

A process dies exactly before or after a function of gatepost (`support.kill_switch`), alone or, at the same moment,
with the whole gateway; `test_kill.py` kills at random moments. The steps are those of a message (accept, lease, send,
settle, notice), changes of the configuration, of keys and of certificates, the turn of a day, and what signs evidence.
"""

from __future__ import annotations

import hashlib
import smtplib
import sqlite3
import ssl
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import tomlkit
from support.kill_points import MortalGateway, Point
from support.load import wait_empty
from support.mail_kills import DEFERS, GONE, REFUSES_GONE, SEND, Kill, is_acknowledged
from support.postgres import sqlite_only
from support.scenes import ALICE, blind_context, connector, contoso, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

pytestmark = sqlite_only(
    "the steps of a commit are those of SQLite's writer; test_kill_steps_nodes.py has those of PostgreSQL"
)

ANN = "ann@contoso.example"
BIG = 700_000  # octets of a body that has a file of its own

COMMIT = "gatepost.store.sqlite.rows:CommitPlan.execute"  # what comes after it is COMMIT
ACCEPTED = "gatepost.store.sqlite.work:AcceptanceWork.finish"
LEASED = "gatepost.store.sqlite.work:LeaseWork.finish"
SETTLED = "gatepost.store.sqlite.work:SettlementWork.finish"
BODY = "gatepost.store.bodies:BigFile"
MAILDIR = "gatepost.mail.outbound.mailbox:_MaildirFile"
CHANGED = "gatepost.store.changes:_apply"  # in its transaction
COMMITTED = "gatepost.store.changes:ConfigStore.apply"
WHOLE_FILE = "gatepost.store.whole_file"
CHAIN = "gatepost.store.evidence_chain"


MAIL = {
    "accept": [
        Kill(Point(f"{BODY}.append", "after"), stored=False, to=ANN, size=BIG),
        Kill(Point(f"{BODY}.finish", "after"), stored=False, to=ANN, size=BIG),
        Kill(Point(COMMIT, "after", ("self.messages",)), stored=False, to=ANN),
        Kill(Point(ACCEPTED, "before"), to=ANN, size=BIG),
    ],
    "lease": [
        Kill(Point("gatepost.store.sqlite.rows:decode_delivery", "after"), behaviour=DEFERS),
        Kill(Point(LEASED, "before", ("self.request.granted",)), behaviour=DEFERS),
    ],
    "send": [
        Kill(Point(SEND, "before")),
        Kill(Point(SEND, "after"), doubled=1),
        Kill(Point(f"{MAILDIR}._write", "after"), to=ANN),
        Kill(Point(f"{MAILDIR}.finish", "after"), to=ANN, doubled=1),
    ],
    "settle": [
        Kill(Point(COMMIT, "after", ("self.finished",)), doubled=1),
        Kill(Point(SETTLED, "before")),
        Kill(Point(COMMIT, "after", ("self.deferred",)), behaviour=DEFERS),
        Kill(Point(SETTLED, "before"), behaviour=DEFERS),
    ],
    "notice": [
        Kill(Point("gatepost.mail.queue.bounce:Bouncer.notices", "after"), to=GONE),
        Kill(Point(COMMIT, "after", ("self.finished", "self.messages")), to=GONE),
        Kill(Point(SETTLED, "before"), to=GONE),
        Kill(Point(f"{MAILDIR}.finish", "after"), to=GONE, doubled=1),
    ],
}

WHOLE = pytest.mark.parametrize(
    "whole", [True, pytest.param(False, marks=pytest.mark.long)], ids=["all processes", "one process"]
)


@pytest.fixture
def mortal(running: ExitStack) -> Callable[..., MortalGateway]:
    """mortal(points, resources, ...) starts one."""
    return lambda points, resources, **options: running.enter_context(MortalGateway(points, resources, **options))


def arrived(server: MortalGateway, partner: Sink, subject: str) -> int:
    """How often a message came to the partner or into a mailbox, as itself or as a notice that returns its header."""
    line = f"Subject: {subject}".encode()
    files = [path.read_bytes() for path in server.data_dir.rglob("new/*")]
    return sum(line in content.splitlines() for content in [*files, *(one.data for one in partner.messages)])


def is_sound(server: MortalGateway) -> None:
    """After an orderly stop, which must succeed, the store is whole and all evidence signed."""
    assert server.stop() == 0
    server.cli("store", "check")
    verified = server.cli("evidence", "verify", json=True).data
    assert (verified["verified"], verified["unsigned"]) == (True, {})


@WHOLE
@pytest.mark.parametrize("step", MAIL)
def test_a_kill_at_a_step_of_a_message_loses_nothing(
    mortal: Callable[..., MortalGateway], sink: Callable[..., Sink], step: str, *, whole: bool
) -> None:
    """Who got no 250 sends again, as any client does."""
    kills, partner = MAIL[step], sink()
    resources = contoso(outbound=[connector("partner.example", partner.address)], notices_to_strangers="send")
    server = mortal([kill.point for kill in kills], resources, settings={"queue": {"retry": ["1s"]}})
    for number, kill in enumerate(kills):
        subject = f"{step}-{number}"
        partner.behaviour = kill.behaviour
        server.arm(number, whole=whole)
        acknowledged = is_acknowledged(server, kill, subject)
        assert kill.stored or not acknowledged, kill.point
        server.killed()
        partner.behaviour = REFUSES_GONE
        assert acknowledged or is_acknowledged(server, kill, subject)
        expected = kill.stored + (not acknowledged) + kill.doubled
        wait_until(lambda: arrived(server, partner, subject) >= expected, f"{expected} arrivals: {kill.point}")  # noqa: B023 - waited for here
        wait_empty(server)
        assert arrived(server, partner, subject) == expected, kill.point
        assert [*server.data_dir.glob("queue/*/big/*")] == [], "no body without a message stays"
    is_sound(server)


def addresses(server: MortalGateway) -> set[str]:
    return {row["address"] for row in server.cli("mailbox", "list", json=True).data}


def test_a_command_that_is_killed_changed_all_or_nothing(mortal: Callable[..., MortalGateway]) -> None:
    server = mortal([Point(CHANGED, "after", ("wanted",)), Point(COMMITTED, "after", ("document",))], contoso())
    before, version = addresses(server), server.cli("history", json=True).data[0]["version"]
    wanted = {*before, "new@contoso.example", "newer@contoso.example"}
    file = str(server.folder.write("new.toml", tomlkit.dumps(contoso(mailboxes=sorted(wanted)))))
    server.killed_command(0, "apply", "-f", file)
    assert (addresses(server), server.cli("history", json=True).data[0]["version"]) == (before, version)
    server.killed_command(1, "apply", "-f", file)
    newest = server.cli("history", json=True).data[0]
    assert (addresses(server), newest["version"]) == (wanted, version + 1), "and the history has it"
    server.cli("apply", "-f", file)
    assert server.cli("history", json=True).data[0]["version"] == version + 1, "done once, whoever repeats it"
    wait_until(lambda: is_acknowledged(server, Kill(server.points[0], to="newer@contoso.example"), "x"), "its use")


@WHOLE
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_that_is_killed_as_it_takes_up_a_change_has_it_afterwards(
    mortal: Callable[..., MortalGateway], moment: str, *, whole: bool
) -> None:
    server = mortal([Point("gatepost.node.snapshot:SnapshotSource.take", moment)], contoso())
    server.arm(0, whole=whole)
    server.apply(contoso(mailboxes=[ALICE, ANN, "new@contoso.example"]))
    server.killed()
    assert is_acknowledged(server, Kill(server.points[0], to="new@contoso.example"), "for the new one")
    server.wait_maildir("new@contoso.example")


def presented(server: MortalGateway) -> str:
    """The id of the certificate that a new session sees."""
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
        client.starttls(context=blind_context())
        assert isinstance(client.sock, ssl.SSLSocket)
        return hashlib.sha256(client.sock.getpeercert(binary_form=True) or b"").hexdigest()[:16]


def states(server: MortalGateway) -> dict[str, str]:
    return {row["id"]: row["state"] for row in server.cli("certificate", "list", json=True).data["certificates"]}


@WHOLE
def test_a_kill_at_a_switch_leaves_one_certificate_current(
    mortal: Callable[..., MortalGateway], pki: Pki, tmp_path: Path, *, whole: bool
) -> None:
    leaves = [pki.leaf("mx1.contoso.example"), pki.leaf("mx1.contoso.example")]
    old, new = (leaf.sha256[:16].lower() for leaf in leaves)
    context = "gatepost.node.certificate_manager:CertificateManager._context"
    points = [Point(CHANGED, "after", ("wanted",)), Point(COMMITTED, "after", ("document",))]
    points += [Point(context, "before"), Point(context, "after")]
    options = {"certificates": leaves[:1], "anchors": pki.root, "settings": {"store": {"master_key": key(tmp_path)}}}
    server = mortal(points, contoso(), **options)
    wait_until(lambda: states(server) == {old: "current"}, "the inventory to know it")
    server.cli("certificate", "add", str(leaves[1].chain), "--key", str(leaves[1].key))
    switch = ("certificate", "changeover", "switch", new, "--force", "a test")

    server.killed_command(0, *switch)
    assert states(server) == {old: "current", new: "next"}
    assert presented(server) == old

    server.arm(2, whole=whole)
    server.killed_command(1, *switch)
    server.killed()
    assert states(server) == {old: "deprecated", new: "current"}
    assert presented(server) == new

    server.arm(3, whole=whole)
    server.cli("certificate", "changeover", "roll-back")
    server.killed()
    assert states(server) == {old: "current", new: "next"}
    assert presented(server) == old


def key(folder: Path) -> str:
    """A master key."""
    file = folder / "master.key"
    file.touch(0o600)
    file.write_text("k" * 64)
    return f"file:{file}"


def test_a_rotation_of_keys_that_is_killed_leaves_the_old_keys_or_the_new_ones(
    mortal: Callable[..., MortalGateway],
) -> None:
    points = [Point(f"{WHOLE_FILE}:write_fresh", "after"), Point("gatepost.store.srs_keys:publish_file", "after")]
    server = mortal(points, contoso())

    def names() -> list[str]:
        return [row["name"] for row in server.cli("srs", "list", json=True).data]

    def outcomes() -> list[str]:
        return [row["outcome"] for row in server.cli("audit", "--action", "srs-rotate", json=True).data]

    before = names()
    server.killed_command(0, "srs", "rotate")
    assert (names(), outcomes()) == (before, ["begun"])
    server.killed_command(1, "srs", "rotate")
    assert (names()[1:], outcomes()) == (before, ["begun", "begun"]), "no action without an entry"
    server.cli("srs", "rotate")
    assert (names()[2:], outcomes()) == (before, ["done", "begun", "begun"])
    assert [path.name for path in (server.data_dir / "srs").iterdir()] == ["keys"], "no key stays in another file"


def test_a_drill_that_is_killed_is_on_record(mortal: Callable[..., MortalGateway]) -> None:
    """As validations and renewals are, which end after their call, too."""
    bank = connector("bank.example", "127.0.0.1:1", tls_settings="domain-validation", tls_domain="bank.example")
    server = mortal([Point("gatepost.analysis.checks.drill:run_drill", "before")], contoso(outbound=[bank]))
    drill = ("connector", "drill", "bank.example")
    server.killed_command(0, *drill)
    server.cli(*drill)
    events = server.cli("audit", "--action", "connector-drill", json=True).data
    assert [(event["outcome"], event["subject"]) for event in events] == [
        (outcome, "outbound connector 'bank.example' of contoso") for outcome in ("done", "begun")
    ]


def test_a_key_of_evidence_that_is_sealed_is_nowhere_in_clear_whatever_was_killed(
    running: ExitStack, tmp_path: Path
) -> None:
    sealed = Point("gatepost.pki.certificates.evidence_key:publish_file", "after")
    written = Point(f"{WHOLE_FILE}:write_fresh", "after", ("path.parent.name=evidence-keys",))
    server = MortalGateway([written, sealed], contoso())
    running.callback(server.remove)
    server.apply(contoso())
    server.arm(0, whole=True)
    server.restart()
    send(server.port, ANN)
    server.wait_maildir(ANN)
    is_sound(server)
    public = server.cli("evidence", "key").stdout
    with server.config.open("a") as config:
        config.write(f'\n[store]\nmaster_key = "{key(tmp_path)}"\n')
    server.arm(0, 1, whole=True)
    server.restart()
    assert server.cli("evidence", "key").stdout == public, "the same key signs"
    files = [path for path in server.data_dir.glob("evidence*/**/*") if path.is_file()]
    assert [path for path in files if b"PRIVATE KEY" in path.read_bytes()] == []
    is_sound(server)


def test_a_key_of_evidence_that_an_upgrade_moves_is_the_same_whatever_was_killed(running: ExitStack) -> None:
    moving = "gatepost.store.evidence_keys"
    points = [Point(f"{moving}:write_fresh", "after"), Point(f"{moving}:_copy", "after")]
    server = MortalGateway(points, contoso(), delayed=True)
    running.callback(server.remove)
    server.start()
    send(server.port, ANN)
    server.wait_maildir(ANN)
    server.stop()
    public = server.cli("evidence", "key").stdout
    new, old = server.data_dir / "evidence-keys", server.data_dir / "evidence"
    new.rename(old / "keys")
    (old / "keys/signing.key").rename(old / "signing.key")
    server.arm(0, 1, whole=True)
    server.restart()
    assert server.cli("evidence", "key").stdout == public, "the same key signs"
    assert {path.name for path in old.iterdir()} <= {"heads.log", "log", "drills"}
    is_sound(server)


@pytest.mark.timeout(400)
@WHOLE
def test_a_kill_while_evidence_is_signed_takes_nothing_away(
    mortal: Callable[..., MortalGateway], *, whole: bool
) -> None:
    points = [
        Point(f"{CHAIN}:EvidenceChain.append", "before"),
        Point(f"{CHAIN}:EvidenceChain.append", "after"),
        Point("gatepost.store.evidence_end:ChainEnd.checkpoint", "after"),
        Point(f"{CHAIN}:EvidenceChain.checkpoint", "after"),
        Point("gatepost.store.evidence_in_files:EvidenceInFiles.sign_rest", "before"),
    ]
    server = mortal(points, contoso())

    def log() -> bytes:
        return b"".join(path.read_bytes() for path in sorted(server.data_dir.glob("evidence/log/*.0.log")))

    again: list[tuple[Kill, str]] = []
    for number, point in enumerate(points):
        before = log()
        kill, subject = Kill(point, to=ANN), f"evidence-{number}"
        server.arm(number, whole=whole)
        if not is_acknowledged(server, kill, subject):
            again.append((kill, subject))
        wait_until(lambda: log() != before or not server.armed, "an entry, or a kill")  # noqa: B023 - called here
        if "append" in point.step or not server.armed:
            server.killed()
        else:  # what was left unsigned at the last kill may be signed just now: the rest is when it stops
            server.killed_stopping()
        assert log().startswith(before), "what was written stays"
    assert all(is_acknowledged(server, *unacknowledged) for unacknowledged in again)
    expected = {
        f"evidence-{number}" for number in range(len(points))
    }  # one of them twice if its delivery was not settled yet
    wait_until(lambda: expected == {mail.field("Subject") for mail in server.maildir(ANN)}, "the mail")
    is_sound(server)


TRACE = "gatepost.store.sqlite.trace"
HEADS = "gatepost.store.evidence_in_files"
TURN = [
    Point("gatepost.node.ticket_secrets:SharedSecrets.keep", "before"),
    Point(f"{TRACE}:make_texts", "after"),
    Point(f"{TRACE}:_make_one_file", "before"),
    Point("gzip:GzipFile.write", "after"),
    Point("gatepost.store.evidence_files:sync_directory", "before"),
    Point(f"{HEADS}:_append", "before"),
    Point(f"{HEADS}:_append", "after"),
]
OF_TRACE = [
    Point("pathlib:Path.unlink", "before", ("self.parent.name=trace",)),
    Point("pathlib:Path.unlink", "after", ("self.parent.name=trace",)),
]
OF_EVIDENCE = [
    Point(f"{HEADS}:pruned_body", "after"),
    Point("pathlib:Path.unlink", "before", ("self.parent.name=log",)),
    Point("pathlib:Path.unlink", "after", ("self.parent.name=log",)),
]


def test_a_kill_at_the_turn_of_a_day_ends_it_once(mortal: Callable[..., MortalGateway]) -> None:
    """What a day leaves to be done is done at the first start after it, and there each step is killed."""
    server = mortal([*TURN, *OF_TRACE, *OF_EVIDENCE], contoso(), delayed=True, clock=-3 * 86400.0)
    send(server.port, ANN)
    server.wait_trace(recipient=ANN, event="DELIVER")
    assert server.stop() == 0
    before = server.trace(limit="100")
    (day,) = server.data_dir.glob("trace/*.db")
    server.arm(*range(len(TURN)), whole=True)
    server.restart()
    (head,) = wait_until(lambda: server.cli("evidence", "heads", json=True, expect=None).data, "the head of the day")
    wait_until(lambda: files_of(server, head["day"]) == {day.name, f"{head['day']}.0.log.gz"}, "one file of each kind")
    assert server.trace(limit="100") == before
    with closing(sqlite3.connect(f"file:{day}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() > (0,)
    send(server.port, ANN)
    assert len(server.wait_maildir(ANN, 2)) == 2
    is_sound(server)
    armed = len(TURN)
    for section, points in (("[trace]\ndays = 1", OF_TRACE), ('[evidence]\nkeep = "1d"', OF_EVIDENCE)):
        assert server.stop() == 0
        with server.config.open("a") as config:
            config.write(f"\n{section}\n")
        server.arm(*range(armed, armed + len(points)), whole=True)
        server.restart()
        armed += len(points)
    wait_until(lambda: not files_of(server, head["day"]), "the end of what is kept of the day")
    is_sound(server)


def files_of(server: MortalGateway, day: str) -> set[str]:
    """What the data directory has of a day, of trace and evidence."""
    paths = [*server.data_dir.glob("trace/*"), *server.data_dir.glob("evidence/log/*")]
    return {path.name for path in paths if path.name.lstrip(".").startswith(day)}
