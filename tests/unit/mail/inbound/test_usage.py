from __future__ import annotations

import time
from contextlib import closing

import pytest

from gatepost.mail.inbound.usage import SendingUsage
from gatepost.policy.decisions.inbound import decide_mail
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.sending_usage import SenderUsage
from gatepost.store.storage import Storage
from gatepost.times import day_text

NOW = 1_800_000_000.0
DAY = day_text(NOW)
SERVER = """
[organization.o]
[[organization.o.accepted_domain]]
name = "o.example"
[[organization.o.inbound_connector]]
name = "printers"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.1"]
messages_per_day = 2
recipients_per_day = 5
"""


class Scene:
    def __init__(self, tmp_path, directory, session, path, text=SERVER):
        self.storage = Storage(SQLITE, tmp_path)
        self.directory, self.facts = directory(text), session("192.0.2.1")
        self.verdict = decide_mail(self.directory, self.facts, path("x@o.example"))
        self.now = NOW
        self.usages = []

    def usage(self, **options):
        made = SendingUsage(self.storage.sending_usage(), lambda: self.now, interval=0.05, **options)
        made.use(self.directory)
        made.use(self.directory)
        self.usages.append(made)
        return made

    def rows(self, day=DAY):
        with closing(self.storage.sending_usage()) as table:
            return [row for row in table.since(day)[0] if row.organization]

    def send(self, usage, recipients=1):
        """The replies to RCPT, and the count."""
        charge, codes = None, []
        for _ in range(recipients):
            verdict, charge = usage.admit(self.directory, self.facts, self.verdict, charge)
            codes.append(verdict.reply.code)
        return codes, charge


@pytest.fixture
def scene(tmp_path, directory, session, path):
    made = Scene(tmp_path, directory, session, path)
    yield made
    for usage in made.usages:
        usage.close()


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_messages_and_recipients_are_counted_at_once(scene):
    usage = scene.usage()
    assert scene.send(usage, 3)[0] == [250] * 3
    assert scene.send(usage, 3)[0] == [250, 250, 450]
    assert scene.send(usage)[0] == [450]
    usage.close()
    (row,) = scene.rows()
    assert (row.subject, row.messages, row.recipients, row.breached) == ("server printers", 2, 5, NOW)
    assert row.breach == "450 4.7.1 printers has reached its limit of 5 recipients a day (UTC)"


def test_what_is_given_up_does_not_count(scene):
    usage = scene.usage()
    _, charge = scene.send(usage, 5)
    charge.cancel()
    charge.cancel()
    assert scene.send(usage, 5)[0] == [250] * 5


def test_workers_learn_from_each_other_and_from_a_lift(scene):
    one, other = scene.usage(), scene.usage()
    scene.send(one)
    scene.send(one)
    wait_until(lambda: scene.send(other)[0] == [450])
    with closing(scene.storage.sending_usage()) as table:
        table.add([SenderUsage(DAY, "o", "server printers", lifted=2)])
    wait_until(lambda: scene.send(other)[0] == [250])


def test_a_new_day_begins_anew(scene):
    usage = scene.usage()
    scene.send(usage, 5)
    scene.now += 86400
    assert scene.send(usage, 5)[0] == [250] * 5
    wait_until(lambda: scene.rows(day_text(scene.now)))
    assert scene.send(usage)[0] == [450]


FREE = SERVER.replace("messages_per_day = 2", "").replace("recipients_per_day = 5", "")


def test_who_has_no_limit_is_counted_and_read_by_nobody(tmp_path, directory, session, path, monkeypatch):
    scene = Scene(tmp_path, directory, session, path, FREE)
    usage = scene.usage()
    usage.wait_until_read(0)
    monkeypatch.setattr(usage._table, "since", None)
    assert scene.send(usage, 9)[0] == [250] * 9
    wait_until(scene.rows)
    usage.close()
    (row,) = scene.rows()
    assert (row.subject, row.messages, row.recipients, row.breached) == ("server printers", 1, 9, 0)


@pytest.mark.parametrize("everybody", [True, False])
def test_each_day_it_is_noted_whether_everybody_is_counted(scene, everybody):
    usage = scene.usage(everybody=everybody)
    for _ in range(2):
        scene.send(usage)
        wait_until(lambda: scene.rows(day_text(scene.now)))
        with closing(scene.storage.sending_usage()) as table:
            assert table.counted_since([day_text(scene.now)]) == (day_text(scene.now) if everybody else "")
        scene.now += 86400


def test_what_cannot_be_forgotten_on_a_new_day_counts_nothing_twice(scene, monkeypatch):
    usage, failed = scene.usage(), []
    usage.wait_until_read(9)
    prune = usage._table.prune

    def fails_once(before):
        if not failed:
            failed.append(before)
            raise StoreFailure("away")
        prune(before)

    monkeypatch.setattr(usage._table, "prune", fails_once)
    scene.now += 86400
    scene.send(usage)
    wait_until(lambda: failed and scene.rows(day_text(scene.now)))
    usage.close()
    (row,) = scene.rows(day_text(scene.now))
    assert (row.messages, row.recipients) == (1, 1)


def test_what_was_written_and_cannot_be_read_again_counts_once(scene, monkeypatch, caplog):
    usage, broken = scene.usage(), []
    usage.wait_until_read(9)
    since = usage._table.since

    def fails(day, revision=0):
        if broken:
            raise StoreFailure("away")
        return since(day, revision)

    monkeypatch.setattr(usage._table, "since", fails)
    broken.append(True)
    scene.send(usage, 3)
    wait_until(lambda: "counted by each worker alone" in caplog.text)
    assert scene.send(usage, 3)[0] == [250, 250, 450]  # it knows of the three
    broken.clear()
    wait_until(lambda: scene.rows() and scene.rows()[0].recipients >= 5)
    usage.close()
    assert scene.rows()[0].recipients == 5


def test_a_limit_that_is_set_later_holds_soon(tmp_path, directory, session, path):
    scene = Scene(tmp_path, directory, session, path, FREE)
    usage = SendingUsage(scene.storage.sending_usage(), lambda: NOW, interval=600)
    usage.use(scene.directory)
    scene.send(usage, 5)
    with closing(scene.storage.sending_usage()) as table:
        table.add([SenderUsage(DAY, "o", "server printers", 1, 1)])
    scene.directory = directory(SERVER)
    scene.verdict = decide_mail(scene.directory, scene.facts, path("x@o.example"))
    usage.use(scene.directory)
    wait_until(lambda: usage._known)
    assert scene.send(usage)[0] == [450]
    usage.close()


def test_nobody_is_counted_where_neither_limits_nor_the_alarm_need_it(tmp_path, directory, session, path):
    scene = Scene(tmp_path, directory, session, path, FREE)
    usage = scene.usage(everybody=False)
    assert scene.send(usage, 9) == ([250] * 9, None)
    usage.close()
    assert not (tmp_path / "sending-usage.db").exists()


def test_a_connector_in_rehearsal_refuses_nothing(tmp_path, directory, session, path):
    scene = Scene(tmp_path, directory, session, path, SERVER + 'mode = "rehearse"\n')
    usage = scene.usage()
    scene.send(usage, 5)
    verdict, charge = usage.admit(scene.directory, scene.facts, scene.verdict, None)
    usage.close()
    assert (verdict.accepted, verdict.would_refuse.code, verdict.would_refuse_connector) == (True, 450, "printers")
    assert charge.recipients == 1


def test_a_table_that_is_away_stops_no_mail(scene, monkeypatch, caplog):
    def fail(*_):
        raise StoreFailure("away")

    usage = scene.usage()
    wait_until(lambda: usage._day)
    with monkeypatch.context() as broken:
        broken.setattr("gatepost.store.sending_usage.UsageTable.add", fail)
        assert scene.send(usage, 4)[0] == [250] * 4
        wait_until(lambda: "counted by each worker alone" in caplog.text)
        assert scene.send(usage, 2)[0] == [250, 450]
    wait_until(scene.rows)
    assert scene.rows()[0].recipients == 5


def test_a_start_waits_until_it_is_known_what_was_sent_before(scene):
    first = scene.usage()
    scene.send(first, 2)
    scene.send(first)
    first.close()
    usage = scene.usage()
    usage.wait_until_read(20)
    assert scene.send(usage)[0] == [450], "it has been told already"


def test_a_start_without_limits_or_table_does_not_wait_for_long(scene, monkeypatch):
    idle = SendingUsage(scene.storage.sending_usage())
    idle.wait_until_read(20)
    idle.close()
    broken = scene.storage.sending_usage()

    def away(*_):
        raise StoreFailure("away")

    monkeypatch.setattr(broken, "since", away)
    usage = SendingUsage(broken)
    usage.use(scene.directory)
    scene.usages.append(usage)
    usage.wait_until_read(20)
    assert scene.send(usage)[0] == [250]
