"""A worker's parts are real; what the world says, and the time, are parameters."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from email import message_from_bytes, policy

import apsw
import pytest

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Alarm, Kind, Severity, decoded, encoded
from gatepost.analysis.alarms.machine import MachineFacts, OldPrimary
from gatepost.analysis.alarms.mail_flow import MailFacts, Shares
from gatepost.analysis.checks.certificate_alarms import ChainSeen, Observed, TlsaSeen, TlsaState
from gatepost.analysis.checks.named_files import file_alarms
from gatepost.events.delivery_problems import FailingPartner
from gatepost.events.machine_report import DiskRoom
from gatepost.node.alarms import AlarmMonitor
from gatepost.node.assembly import Assembly
from gatepost.node.owner_mail import OwnerMail
from gatepost.node.site_mail import SiteMail
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure
from gatepost.store.nodes import (
    CertificateObservation,
    Node,
    NodeFigures,
    NodeState,
    UnusableFile,
    UnusableKey,
    WorkerBeat,
)
from gatepost.values import replace

DAY = 86400.0
HOST = "mx1.contoso.example"
CONTOSO = {"accepted_domain": [{"name": "contoso.example"}], "mailbox": [{"address": "ann@contoso.example"}]}
BROKEN = Observed(tlsa={HOST: TlsaSeen(TlsaState.NOTHING, "another key")})
WELL = Observed(tlsa={HOST: TlsaSeen(TlsaState.MATCHED)})


class World:
    """Says what it is told to say, and counts how often it was asked."""

    def __init__(self, says):
        self.says, self.asked = says, 0

    async def observe(self, chains, presented, domains, *, now):
        self.asked += 1
        self.chains, self.domains = chains, domains
        await asyncio.sleep(0)
        return self.says


class Played:
    """An alarm keeper among the parts of a worker. now: seconds since 1970, moved by hand."""

    def __init__(self, assembly, settings, says):
        self.assembly = assembly
        self.world = World(says)
        self.now = time.time()
        self.offered = []
        self.store = assembly._stores[0]
        self.settings = settings
        self.nodes = None
        self.again()

    def again(self):
        """As after a restart."""
        parts = self.assembly

        def directory():
            return parts._snapshots.current.directory

        mail = OwnerMail(SiteMail(self.store, self.offered.extend, directory, lambda _: 3600.0, lambda _: None), HOST)
        self.certificates = AlarmMonitor(
            self.settings,
            parts._resources,
            parts.certificates,
            self.world,
            directory,
            mail=mail,
            nodes=lambda: self.nodes,
            clock=lambda: self.now,
        )
        self.certificates.tick()  # lets the start come first

    async def tick(self, later=0.0):
        self.now += later
        self.certificates.tick()
        while running := [task for task in self.certificates._tasks.values() if not task.done()]:
            await asyncio.wait(running)

    @property
    def memory(self):
        return decoded(self.assembly._resources.content(ALARMS_CONTENT))

    def mails(self):
        return [message_from_bytes(one.body, policy=policy.SMTP) for one in self.offered]


@pytest.fixture
def play(home):
    """Run a scene with a worker whose certificate its inventory knows."""

    def run(scene, says=WELL, organizations=None, **sections):
        store = ConfigStore(home.data / "config.db")
        store.apply(
            {"organization": organizations if organizations is not None else {"contoso": CONTOSO}}, author="test"
        )
        store.close()
        given = {"alarms": {"mail_to": ["ann@contoso.example"]}, "queue": {"paused": True}, **sections}
        settings = home.settings(**given)

        async def act():
            assembly = await Assembly.build(settings, 0, 1, [])
            try:
                assembly.certificates._look()
                if assembly.certificates._looking.task is not None:  # a thread reads the files
                    await assembly.certificates._looking.task
                await assembly.refresh()
                await scene(Played(assembly, settings, says))
            finally:
                await assembly.parts.close(0.5)

        asyncio.run(asyncio.wait_for(act(), 20))

    return run


def test_what_is_wrong_is_told_once_kept_and_mailed(play, caplog):
    caplog.set_level(logging.INFO, "gatepost.node.alarms")

    async def scene(played):
        assert played.memory.looked == 0
        await played.tick()
        assert "tlsa-mismatch" in [one.kind for one in played.memory.alarms]
        assert [line.levelname for line in caplog.records if "no TLSA record" in line.message] == ["CRITICAL"]
        (mail,) = played.mails()
        assert "critical" in mail["Subject"]
        assert "no TLSA record of mx1.contoso.example" in mail.get_content().replace("\r\n  ", " ")
        count = len(caplog.records)
        for later in (1, 400, 400):
            await played.tick(later)
        played.again()
        await played.tick(400)
        assert (len(caplog.records), len(played.offered), played.world.asked) == (count, 1, 1)
        played.world.says = WELL
        await played.tick(3600)
        assert played.world.asked == 2
        over = [line for line in caplog.records if line.message.startswith("alarm over: no TLSA record")]
        assert [line.levelname for line in over] == ["INFO"]
        assert len(played.offered) == 1
        await played.tick(DAY)
        assert "RESOLVED" in played.mails()[1].get_content()

    play(scene, BROKEN)


def test_the_queue_holds_a_notice_that_nothing_answers(play):
    async def scene(played):
        await played.tick()
        (delivery,) = played.offered
        message = delivery.message
        assert (message.reverse_path, message.is_notice, message.from_on_premises) == ("", True, False)
        assert (delivery.destination, delivery.recipients[0].address) == (
            "contoso/contoso.example",
            "ann@contoso.example",
        )
        assert delivery.recipients[0].notify == "NEVER"
        assert message.message_id == played.mails()[0]["Message-ID"]
        assert delivery.expires_at == played.now + 3600

    play(scene, BROKEN)


def test_the_world_is_asked_daily_and_after_changes(play, home):
    async def scene(played):
        for later, asked in ((0, 1), (3600, 1), (DAY - 4200, 1), (600, 2), (600, 2)):
            await played.tick(later)
            assert played.world.asked == asked
        assert list(played.world.domains) == ["contoso.example"]
        assert len(played.world.chains) == 1
        # Another domain is another question. Until a change is in force nothing is done about it.
        other = {"accepted_domain": [{"name": "contoso.example"}, {"name": "b.example"}]}
        store = ConfigStore(home.data / "config.db")
        store.apply({"organization": {"contoso": other}}, author="test")
        await played.tick(5)
        assert played.world.asked == 2
        await played.assembly.refresh()
        await played.tick(5)
        assert played.world.asked == 3
        store.apply({"organization": {"contoso": other | {"message_expiration": "1h"}}}, author="test")
        store.close()
        await played.assembly.refresh()
        await played.tick(5)
        assert played.world.asked == 3, "that says nothing about certificates"

    play(scene, Observed(tlsa={HOST: TlsaSeen(TlsaState.ABSENT)}))


def test_while_something_is_not_known_it_is_asked_every_hour(play):
    async def scene(played):
        for later, asked in ((0, 1), (3000, 1), (600, 2), (3600, 3)):
            await played.tick(later)
            assert played.world.asked == asked
        assert played.memory.unknown == ("the DNS is silent",)

    play(scene, Observed(unknown=("the DNS is silent",)))


def test_one_look_ends_before_the_next_begins(play):
    async def scene(played):
        gate = asyncio.Event()
        plain = played.world.observe

        async def slow(*arguments, **more):
            await gate.wait()
            return await plain(*arguments, **more)

        played.world.observe = slow
        played.certificates.tick()
        first = played.certificates._tasks["certificates"]
        played.now += DAY
        played.certificates.tick()
        assert played.certificates._tasks["certificates"] is first
        gate.set()
        await first
        played.certificates.close()

    play(scene)


def test_revoked_is_critical_and_stays_while_nothing_is_known(play, caplog):
    async def scene(played):
        await played.assembly.refresh()
        _, entries = played.assembly.certificates.inventory.entries()
        (number,) = entries
        played.world.says = Observed(chains={number: ChainSeen(revoked="by its authority")}, tlsa=WELL.tlsa)
        await played.tick()
        played.world.says = Observed(unknown=("no answer",))
        await played.tick(3600)
        assert f"revoked {number}" in [one.key for one in played.memory.alarms]
        assert "alarm over: " not in caplog.text
        played.world.says = Observed(chains={number: ChainSeen()}, tlsa=WELL.tlsa)
        await played.tick(3600)
        assert f"revoked {number}" not in [one.key for one in played.memory.alarms]

    play(scene)


OWNED = {"hostname": "mx.gate.example", "data_dir": "data", "postmaster": "ann@contoso.example"}
NOBODY = [
    ({"alarms": {}}, []),
    ({"alarms": {}, "server": OWNED}, ["contoso/contoso.example"]),
    (
        {"alarms": {"mail_to": ["a@x.example", "b@x.example", "ann@contoso.example"]}},
        ["contoso/contoso.example", "contoso/x.example"],
    ),
]


@pytest.mark.parametrize(("sections", "destinations"), NOBODY)
def test_who_gets_mail(play, sections, destinations):
    async def scene(played):
        await played.tick()
        assert sorted(one.destination for one in played.offered) == destinations
        assert len({one.message.id for one in played.offered}) <= 1

    play(scene, BROKEN, **sections)


def test_who_forwards_its_mail_gets_it_there(play):
    box = {"address": "ann@contoso.example", "forwarding_smtp_address": "home@b.example"}

    async def scene(played):
        await played.tick()
        (one,) = played.offered
        assert one.destination == "contoso/b.example"
        assert (one.recipients[0].address, one.recipients[0].forwarded_by) == ("home@b.example", "ann@contoso.example")

    play(scene, BROKEN, organizations={"contoso": CONTOSO | {"mailbox": [box]}})


def test_without_an_organization_no_mail_goes_anywhere(play, caplog):
    async def scene(played):
        await played.tick()
        assert played.offered == []
        assert "no mail about alarms goes to ann@contoso.example" in caplog.text
        await played.tick(400)
        assert caplog.text.count("no mail about alarms goes to") == 1

    play(scene, BROKEN, organizations={})


def test_mail_that_the_store_does_not_take_is_tried_again(play, caplog, monkeypatch):
    async def scene(played):
        accept = played.store.accept
        with monkeypatch.context() as patch:
            patch.setattr(played.store, "room_for", lambda _: False)
            await played.tick()
        assert "is not queued yet" in caplog.text
        assert played.offered == []
        await played.tick(400)
        assert len(played.offered) == 1
        assert played.store.accept == accept

    play(scene, BROKEN)


def test_a_memory_that_cannot_be_kept_is_told(play, caplog, monkeypatch):
    async def scene(played):
        def fails(*_, **__):
            raise StoreFailure("the disk is full")

        monkeypatch.setattr(played.assembly._resources, "keep_apart", fails)
        await played.tick()
        assert "are not kept, and may be told again: the disk is full" in caplog.text

    play(scene, BROKEN)


def test_what_is_stored_and_not_in_force_yet_is_not_judged(play, home):
    """Certificates are presented a moment after they are stored; held against records before, they would not match."""

    async def scene(played):
        await played.tick()
        assert played.world.asked == 1
        store = ConfigStore(home.data / "config.db")
        more = CONTOSO | {"accepted_domain": [{"name": "contoso.example"}, {"name": "b.example"}]}
        store.apply({"organization": {"contoso": more}}, author="test")
        await played.tick(1)
        assert played.world.asked == 1
        await played.assembly.refresh()
        store.apply({"organization": {"contoso": CONTOSO}}, author="test")  # after the look at the version, as it were
        store.close()
        version, looked = played.certificates._resources.version, [played.assembly._snapshots.current.version]
        played.certificates._resources.version = lambda: looked.pop() if looked else version()
        await played.tick(1)
        assert (looked, played.world.asked) == ([], 1)
        await played.assembly.refresh()
        await played.tick(1)
        assert played.world.asked == 1, "it is as it was at the last look"

    play(scene, Observed(tlsa={HOST: TlsaSeen(TlsaState.ABSENT)}))


def test_changes_that_follow_one_another_are_looked_at_together(play, home):
    async def scene(played):
        plain = played.world.observe

        async def slow(*arguments, **more):
            await asyncio.sleep(0.2)
            return await plain(*arguments, **more)

        played.world.observe = slow
        await played.tick()
        store = ConfigStore(home.data / "config.db")
        more = CONTOSO | {"accepted_domain": [{"name": "contoso.example"}, {"name": "b.example"}]}
        store.apply({"organization": {"contoso": more}}, author="test")
        store.close()
        await played.assembly.refresh()
        await played.tick(1)
        assert played.world.asked == 1, "ten times what a look takes is left between two of them"
        await played.tick(60)
        assert played.world.asked == 2

    play(scene, Observed(tlsa={HOST: TlsaSeen(TlsaState.ABSENT)}))


def test_an_entry_of_another_version_is_told(play, home, caplog):
    async def scene(played):
        store = ConfigStore(home.data / "config.db")
        store.apply({"certificate": {"00": {"leaf": {}}}}, author="test")
        store.close()
        await played.tick(400)
        assert "certificates are not looked after: certificate 00" in caplog.text
        assert played.world.asked == 0

    play(scene)


# mail on its way


class Post:
    """A webhook that takes what it is told to take."""

    wanted = True

    def __init__(self):
        self.takes, self.tried = True, []

    async def send(self, post, *, now):
        self.tried.append([(str(one.event), str(one.alarm.kind)) for one in post.news])
        return self.takes


FAILING = FailingPartner("contoso", "bank-out", "bank.example", "encrypted", 0.0, 0.0, 5, "certificate-expired")


def with_flow(played, facts, trouble=None):
    """The keeper also looks at mail; facts: what it finds, may be changed. Returns the webhook."""
    post = Post()
    parts = played.assembly

    def directory():
        return parts._snapshots.current.directory

    played.certificates = AlarmMonitor(
        played.settings,
        parts._resources,
        parts.certificates,
        played.world,
        directory,
        mail=OwnerMail(
            SiteMail(played.store, played.offered.extend, directory, lambda _: 3600.0, lambda _: None), HOST
        ),
        find=lambda _: facts[0],
        trouble=trouble,
        post=post,
        clock=lambda: played.now,
    )
    played.certificates.tick()
    return post


def mail_kinds(played):
    return [str(one.kind) for one in played.memory.alarms if one.kind.of_mail]


def test_mail_and_certificates_are_alarms_of_one_course(play, caplog):
    caplog.set_level(logging.INFO, "gatepost.node.alarms")

    async def scene(played):
        facts = [MailFacts((replace(FAILING, since=played.now - 3600, last=played.now),))]
        post = with_flow(played, facts)
        await played.tick()
        assert mail_kinds(played) == ["partner-failing"]
        assert "tlsa-mismatch" in [one.kind for one in played.memory.alarms]
        told = [one for batch in post.tried for one in batch]
        assert ("raised", "partner-failing") in told
        assert ("raised", "tlsa-mismatch") in told
        await played.tick(300)  # a mail told of the certificate a moment ago
        assert "mail to bank.example waits" in played.mails()[1].get_content()
        facts[0] = MailFacts(oldest=None, tls=None)
        await played.tick(30)
        assert mail_kinds(played) == ["partner-failing"], "it is not looked yet"
        count = len(post.tried)
        await played.tick(60)
        assert mail_kinds(played) == []
        assert "tlsa-mismatch" in [one.kind for one in played.memory.alarms], "nobody looked at certificates"
        assert post.tried[count:] == [[("cleared", "partner-failing")]]
        assert "alarm over: mail to bank.example waits" in caplog.text

    play(scene, BROKEN)


def test_what_could_not_be_learnt_of_mail_stays(play):
    async def scene(played):
        facts = [
            MailFacts(oldest=5 * 3600.0, destination="contoso/b.example", tls={"b.example": Shares(10, 10, 0, 100)})
        ]
        with_flow(played, facts)
        await played.tick()
        assert sorted(mail_kinds(played)) == ["queue-age", "tls-failures-rising"]
        facts[0] = MailFacts(oldest=None, tls=None)
        await played.tick(60)
        assert sorted(mail_kinds(played)) == ["queue-age", "tls-failures-rising"]
        facts[0] = MailFacts()
        await played.tick(60)
        assert mail_kinds(played) == []

    play(scene)


def test_a_webhook_that_fails_is_tried_again_also_after_a_restart_and_at_last_given_up(play, caplog):
    async def scene(played):
        facts = [MailFacts(oldest=5 * 3600.0, destination="contoso/b.example")]
        post = with_flow(played, facts)
        post.takes = False
        await played.tick()
        assert len(played.memory.posts) == len(post.tried) == 1
        await played.tick(5)
        assert len(post.tried) == 1, "it is not time yet"
        await played.tick(10)
        assert len(post.tried) == 2
        again = with_flow(played, facts)
        await played.tick(60)
        assert again.tried == [[("raised", "queue-age")]]
        assert played.memory.posts == ()
        again.takes = False
        facts[0] = MailFacts()
        await played.tick(60)
        for _ in range(30):
            await played.tick(3700)
        assert played.memory.posts == ()
        assert "could not be posted for a day" in caplog.text

    play(scene)


def test_a_full_disk_keeps_nothing_from_the_webhook(play, caplog, monkeypatch):
    facts = [MailFacts(machines=(MachineFacts(("the disk is full",), 1),))]

    def fails(*_, **__):
        raise StoreFailure("the disk is full")

    async def scene(played):
        post = with_flow(played, facts)
        with monkeypatch.context() as patch:
            patch.setattr(played.assembly._resources, "keep_apart", fails)
            await played.tick()
            assert post.tried == [[("raised", "mail-refused")]]
            await played.tick(60)
            await played.tick(60)
            assert len(post.tried) == 1, "it is posted once, and told once"
            told = [line for line in caplog.records if line.message.startswith("alarm: no mail is accepted")]
            assert len(told) == 1
            assert caplog.text.count("alarms are not kept") == 1
        facts[0] = MailFacts()
        await played.tick(60)
        assert post.tried[1:] == [[("cleared", "mail-refused")]]
        assert played.memory.alarms == ()

    play(scene)


def test_a_disk_that_cannot_be_looked_at_keeps_the_alarm_about_its_own_node_alone(play):
    low = [MachineFacts(disk=DiskRoom("/data", 1, 2), node=name) for name in ("mx1", "mx2")]
    unseen = [MachineFacts(node="mx1"), MachineFacts(disk=DiskRoom("/data", 1 << 40, 2), node="mx2")]
    facts = [MailFacts(machines=tuple(low))]

    async def scene(played):
        with_flow(played, facts)
        await played.tick()
        assert sorted(alarm.about for alarm in played.memory.alarms) == ["mx1", "mx2"]
        facts[0] = MailFacts(machines=tuple(unseen))
        await played.tick(60)
        assert [alarm.about for alarm in played.memory.alarms] == ["mx1"]

    play(scene)


def test_wrong_clocks_are_no_news_while_the_database_cannot_be_asked_about_nodes(play):
    wrong = tuple(MachineFacts(node=name, ahead=400.0) for name in ("mx1", "mx2"))
    facts = [MailFacts(machines=wrong)]

    async def scene(played):
        post = with_flow(played, facts)
        await played.tick()
        assert post.tried == [[("raised", "clock-jumped")] * 2]
        facts[0] = MailFacts(machines=(MachineFacts(node="mx1"),), silent=None)
        await played.tick(60)
        facts[0] = MailFacts(machines=wrong)
        await played.tick(60)
        assert len(post.tried) == 1
        facts[0] = MailFacts(machines=(MachineFacts(node="mx1"),))
        await played.tick(60)
        assert played.memory.alarms == ()

    play(scene)


def test_a_restart_does_not_end_the_alarm_about_an_old_primary(play):
    """The new process looks at the other servers after a moment only."""
    facts = [MailFacts(old_primaries=(OldPrimary("PostgreSQL at db1", 1, 2),))]

    async def scene(played):
        with_flow(played, facts)
        for known, kinds in ((facts[0].old_primaries, ["old-primary"]), (None, ["old-primary"]), ((), [])):
            facts[0] = MailFacts(old_primaries=known)
            await played.tick(60)
            assert mail_kinds(played) == kinds

    play(scene)


def test_nameservers_that_do_not_answer_are_an_alarm_until_one_does(play):
    said = ["nameserver [127.0.0.1]:53 cannot be reached"]

    async def trouble():
        return said[0]

    async def scene(played):
        with_flow(played, [MailFacts()], trouble)
        await played.tick()
        assert mail_kinds(played) == ["nameservers-down"]
        said[0] = ""
        await played.tick(300)
        assert mail_kinds(played) == []

    play(scene)


def test_sessions_go_on_while_another_process_changes_the_configuration(play, home):
    async def scene(played):
        other = apsw.Connection(str(home.data / "config.db"))
        other.execute("BEGIN IMMEDIATE")
        telling = asyncio.get_running_loop().create_task(played.tick())
        await asyncio.sleep(0.5)  # a loop that waited for the lock would do so until it gives up
        assert not telling.done()
        other.execute("COMMIT")
        other.close()
        await telling
        assert played.memory.alarms

    play(scene, BROKEN)


def node_saying(*unusable, files=()):
    look = CertificateObservation(time.time(), (), unusable, files)
    worker = WorkerBeat(0, 1, 0.0, 1, NodeFigures(observed=look))
    return Node("mx2", "host", "1.0", (), 0.0, 0.0, NodeState.ACTIVE, (worker,), ())


def test_a_key_that_another_node_cannot_use_is_an_alarm_until_that_node_says_otherwise(play):
    def lost(played):
        return [alarm for alarm in played.memory.alarms if alarm.kind is Kind.KEY_UNUSABLE]

    async def scene(played):
        (number,) = played.assembly.certificates.inventory.entries()[1]
        played.nodes = [node_saying(UnusableKey(number, "key.pem: No such file or directory"))]
        await played.tick()
        (alarm,) = lost(played)
        assert (alarm.certificate, alarm.about, alarm.severity) == (number, "mx2", Severity.CRITICAL)
        played.nodes = None
        await played.tick(400)
        assert lost(played) == [alarm], "nodes cannot be asked"
        played.nodes = [node_saying()]
        await played.tick(400)
        assert lost(played) == []

    play(scene)


@pytest.mark.parametrize(("look", "later"), [("5m", 60), ("1m", 60), ("10s", 10)])
def test_certificates_are_judged_once_a_minute_and_as_often_as_mail_flow(play, look, later):
    async def scene(played):
        (number,) = played.assembly.certificates.inventory.entries()[1]
        played.nodes = [node_saying(UnusableKey(number, "key.pem: No such file or directory"))]
        await played.tick()
        await played.tick(400)  # what changed has settled
        played.nodes = [node_saying()]
        await played.tick(later - 1)
        assert Kind.KEY_UNUSABLE in [alarm.kind for alarm in played.memory.alarms]
        await played.tick(1)
        assert Kind.KEY_UNUSABLE not in [alarm.kind for alarm in played.memory.alarms]

    play(scene, alarms={"look": look})


def test_a_slow_look_at_the_world_delays_no_other_check(play, monkeypatch):
    monkeypatch.setattr("gatepost.node.alarms._PATIENCE", 0.05)

    def lost(played):
        return [alarm.about for alarm in played.memory.alarms if alarm.kind is Kind.KEY_UNUSABLE]

    async def until_judged(played, later=0.0):
        played.now += later
        played.certificates.tick()
        await asyncio.wait([played.certificates._tasks["certificates"]])

    async def scene(played):
        (number,) = played.assembly.certificates.inventory.entries()[1]
        gate, plain = asyncio.Event(), played.world.observe

        async def slow(*arguments, **more):
            await gate.wait()
            return await plain(*arguments, **more)

        played.world.observe = slow
        await until_judged(played)
        assert played.memory.looked == 0
        played.nodes = [node_saying(UnusableKey(number, "key.pem: No such file or directory"))]
        await until_judged(played, 301)
        assert lost(played) == ["mx2"], "while the world is looked at"
        gate.set()
        await asyncio.wait([played.certificates._tasks["world"]])
        await played.tick(2)
        assert "tlsa-mismatch" in [alarm.kind for alarm in played.memory.alarms], "judged as soon as it is known"
        played.certificates._rest_until = played.now + 1200.0
        played.nodes = [node_saying()]
        renewed(played)
        await played.tick(301)
        assert played.world.asked == 1
        assert lost(played) == [], "also while the world rests from a slow look"
        await played.tick(900)
        assert played.world.asked == 2, "and then it is looked at"

    def renewed(played):
        memory = replace(played.memory, seen="of another configuration")
        played.assembly._resources.keep_apart({ALARMS_CONTENT: encoded(memory)})

    play(scene, BROKEN)


def test_a_file_system_that_hangs_delays_no_other_check_and_ends_no_alarm(play, monkeypatch, caplog):
    monkeypatch.setattr("gatepost.node.alarms._PATIENCE", 0.05)
    released = threading.Event()
    alarm = Alarm(Kind.FILE_UNUSABLE, Severity.ERROR, "", "gone", "it is gone", "restore it", "a/b/c")

    async def scene(played):
        played.certificates._files = lambda _now: (alarm,)
        await played.tick()
        assert "file-unusable" in [one.kind for one in played.memory.alarms]

        def hang(_now):
            released.wait(20)
            return ()

        played.certificates._files = hang
        (number,) = played.assembly.certificates.inventory.entries()[1]
        played.nodes = [node_saying(UnusableKey(number, "key.pem: No such file or directory"))]
        for _ in range(2):
            played.now += 301
            played.certificates.tick()
            await asyncio.wait([played.certificates._tasks["certificates"]])
            assert {"file-unusable", "key-unusable"} <= {one.kind for one in played.memory.alarms}
        assert "the check of the files for alarms has not ended" in caplog.text
        released.set()
        await played.tick()
        await played.tick(301)
        assert "file-unusable" not in [one.kind for one in played.memory.alarms]

    play(scene)


def test_each_node_says_which_files_it_cannot_use(play):
    """One that has said nothing yet, such as after its start, ends no alarm; one that is gone does."""
    file = UnusableFile("tls.trust_anchors", "anchors.pem: No such file or directory")

    async def scene(played):
        played.certificates._node, played.certificates._suffix = "mx1", " on mx1"
        own = file_alarms([file], (), node="mx1")
        played.certificates._files = lambda _now, found=tuple(own): found
        unknown = UnusableFile("contoso/gone/key_file", "of a resource that is not there")

        async def judged(*nodes):
            played.nodes = list(nodes) if nodes != (None,) else None
            await played.tick(301)
            return sorted(alarm.about for alarm in played.memory.alarms if alarm.kind is Kind.FILE_UNUSABLE)

        both = [f"tls.trust_anchors on {node}" for node in ("mx1", "mx2")]
        await played.tick()
        assert await judged(node_saying(files=(file, unknown))) == both
        assert await judged(node_saying(files=None)) == both
        assert await judged(None) == both
        assert await judged(node_saying()) == both[:1]
        assert await judged(node_saying(files=(file,))) == both
        played.certificates._files = lambda _now: ()
        assert await judged(node_saying(files=(file,))) == both[1:]
        assert await judged(replace(node_saying(files=(file,)), state=NodeState.DEAD)) == []

    play(scene)


def test_after_a_change_nodes_get_a_moment_and_are_judged_then(play):
    async def scene(played):
        await played.tick()
        judged = played.certificates._judged
        await played.tick(20)
        assert played.certificates._judged == judged
        await played.tick(30)
        assert played.certificates._judged == judged + 50
        await played.tick(50)
        assert played.certificates._judged == judged + 50, "and then every five minutes"

    play(scene)


def test_mail_goes_though_the_clock_was_a_month_ahead(play):
    async def scene(it):
        it.now += 30 * DAY
        await it.tick()
        before = len(it.mails())
        it.now -= 30 * DAY
        await it.tick()
        await it.tick(DAY + 1)
        assert (before, len(it.mails())) == (1, 2)

    play(scene, says=BROKEN)


def test_a_node_certificate_that_is_not_renewed_is_an_alarm_until_it_is(play):
    member = {"site": "a-site", "node": HOST, "address": "mx2.contoso.example:8444", "sha256": "a" * 64}

    def took(played, issued):
        times = {"issued": issued, "not_after": issued + 7 * DAY}
        store = ConfigStore(played.assembly._resources.path)
        store.apply({"site_membership": {"site_membership": member | times}}, author="test")
        store.close()

    async def scene(played):
        took(played, played.now)
        for later, found in ((5 * DAY, []), (DAY, [Severity.ERROR]), (DAY, [Severity.CRITICAL])):
            await played.tick(later)
            alarms = [one for one in played.memory.alarms if one.kind is Kind.SITE_CERTIFICATE]
            assert [one.severity for one in alarms] == found
        took(played, played.now)
        await played.tick(61)
        assert Kind.SITE_CERTIFICATE not in [one.kind for one in played.memory.alarms]

    play(scene)
