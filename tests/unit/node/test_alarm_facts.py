from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from gatepost.analysis.alarms.machine import MachineFacts
from gatepost.analysis.alarms.mail_flow import MailFacts
from gatepost.events.delivery_problems import HOPS_FAIL, NEXT_HOP, RECORDS_DOWN, FailingPartner
from gatepost.events.machine_report import DiskRoom, EndedProcess, MachineReport
from gatepost.mail.model.queue_share import QueueShare
from gatepost.node.alarm_facts import SILENCE, AlarmFacts
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.store.changes import ConfigStore
from gatepost.store.figures import WORKERS_DIRECTORY, WorkerFigures, write_figures
from gatepost.store.interface import StoreFailure, StoreFull
from gatepost.store.nodes import Node, NodeFigures, NodeState, WorkerBeat
from gatepost.values import replace

HOP = FailingPartner("contoso", "relay", NEXT_HOP, "", 1.0, 2.0, 3, HOPS_FAIL, by_connector=True)


def connector(name, **fields):
    return {"name": name, "recipient_domains": ["*"]} | fields


def organization(*connectors):
    return {"accepted_domain": [{"name": "contoso.example"}], "outbound_connector": list(connectors)}


@pytest.fixture
def store(home):
    store = ConfigStore(home.data / "config.db")
    yield store
    store.close()


@pytest.fixture
def facts(home, store):
    """Make what gathers facts; with these of mail, nodes and a failure of the own store."""

    def make(mail=MailFacts(), nodes=lambda: (), failure=lambda: None, shared=None, **sections):  # noqa: B008 - a constant
        _, documents = store.load("organization")
        directory = Directory(parse(documents), 1)
        return AlarmFacts(
            home.settings(**sections),
            store if shared is None else shared,
            lambda: directory,
            find=lambda _: mail,
            nodes=nodes,
            failure=failure,
            ahead=lambda: 5.0,
            refused=lambda: (QueueShare("contoso", 5, 0.5),),
        )

    return make


def test_recent_changes_of_connectors_whose_mail_waits(store, facts):
    store.apply({"organization": {"contoso": organization(connector("relay"), connector("other"))}}, author="ann")
    store.apply(
        {"organization": {"contoso": organization(connector("relay", smart_hosts=["a.example"]), connector("other"))}},
        author="eve",
    )
    now = time.time()
    found = facts(MailFacts(failing=(HOP,))).find(now)
    (change,) = found.changes
    assert (change.version, change.connector, change.author) == (2, "relay", "eve"), "not those of a new organization"
    assert found.ahead == 5.0
    assert found.refused == (QueueShare("contoso", 5, 0.5),)
    assert facts().find(now).changes == (), "nobody reads the history while nothing fails"
    for later, known in ((90_000, True), (605_000, False)):
        changes = facts(MailFacts(failing=(HOP,))).find(now + later).changes
        assert (change in changes) == known, "the alarm says the same for as long as mail waits, a week at most"
    looking = facts(MailFacts(failing=(HOP,)))
    looking.find(now)

    def fail():
        raise StoreFailure("locked")

    looking._resources = SimpleNamespace(is_shared=False, another=fail)
    assert looking.find(now).changes == (change,), "what cannot be read changes nothing that is said"


def test_the_history_is_read_once_in_a_version(store, facts):
    class Counted:
        is_shared = False
        read = 0

        def another(self):
            self.read += 1
            return store.another()

    for host in ("a.example", "b.example"):
        store.apply({"organization": {"contoso": organization(connector("relay", smart_hosts=[host]))}}, author="eve")
    counted, now, mails = Counted(), time.time(), [MailFacts(failing=(HOP,))]
    gatherer = facts(shared=counted)
    gatherer._find = lambda _: mails[-1]
    assert [len(gatherer.find(now + later).changes) for later in (0, 60, 8 * 86400)] == [1, 1, 0]
    assert counted.read == 1, "a history with many connectors takes tenths of a second"
    mails.append(MailFacts(failing=(HOP, replace(HOP, organization="fabrikam"))))
    assert len(gatherer.find(now).changes) == 1
    assert counted.read == 2


def test_a_history_that_cannot_be_read_is_not_known(store, facts, caplog):
    class Unreadable:
        is_shared = False

        def another(self):
            raise StoreFailure("locked")

    assert facts(MailFacts(failing=(HOP,)), shared=Unreadable()).find(0.0).changes == ()
    assert "recent changes of connectors are not known: locked" in caplog.text


def test_connectors_whose_failures_say_nothing(store, facts):
    relay = connector("relay", smart_hosts=["a.example"])
    bank = connector("bank", recipient_domains=["bank.example"])
    store.apply({"organization": {"contoso": organization(relay, bank, connector("mx"))}}, author="ann")
    assert facts().find(0.0).catch_alls == {("contoso", "mx")}


def test_why_no_mail_is_taken_and_how_much_room_there_is(home, store, facts):
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as other:
        write_figures(home.data / WORKERS_DIRECTORY, WorkerFigures(0, pid=os.getpid(), reason="mine, as it was"))
        write_figures(home.data / WORKERS_DIRECTORY, WorkerFigures(1, pid=other.pid, reason="theirs"))
        write_figures(home.data / WORKERS_DIRECTORY, WorkerFigures(2, pid=other.pid, reason="of a former worker"))
        server = {"hostname": "mx.gate.example", "data_dir": str(home.data), "workers": 2}
        (found,) = facts(failure=lambda: StoreFull("mine"), server=server).find(0.0).machines
        assert (found.refusals, found.workers) == (("mine", "theirs"), 2)
        assert found.disk is not None
        assert found.disk.directory == str(home.data)
        assert found.disk.free > 0
        other.communicate()
    assert facts().find(0.0).machines[0].refusals == (), "a worker that has ended takes none, and another follows"


class Shared:
    is_shared = True


def node(name, age, state=NodeState.DEAD, *reports):
    beats = tuple(WorkerBeat(number, 1, age, 1, NodeFigures(machine=report)) for number, report in enumerate(reports))
    return Node(name, f"host of {name}", "1", (), 0.0, age, state, beats, ())


def test_nodes_that_are_silent_at_two_looks(facts):
    nodes = [
        node("a", 1.0, NodeState.ACTIVE),
        node("b", SILENCE),
        node("c", SILENCE - 1),
        node("d", 999.0, NodeState.STOPPED),
    ]
    seen = facts(nodes=lambda: nodes, shared=Shared())
    assert seen.find(1000.0).silent is None, "when a database is back, none was heard of for a moment"
    (silent,) = seen.find(1000.0).silent
    assert (silent.name, silent.host, silent.seen) == ("b", "host of b", 1000.0 - SILENCE)
    assert facts(nodes=lambda: None, shared=Shared()).find(0.0).silent is None


def test_machines_of_other_nodes_are_known_by_their_heartbeats(facts):
    low, ended = DiskRoom("/var/lib/gatepost", 1, 2), (EndedProcess("metrics", "signal 9", 1.0, 1),)
    nodes = [
        node("a", 1.0, NodeState.ACTIVE, MachineReport("of this node, which is looked at itself")),
        node("b", 1.0, NodeState.ACTIVE, MachineReport("", low, ended), MachineReport("the disk is full", low, ended)),
        node("c", 99.0, NodeState.DEAD, MachineReport("", low)),
        node("d", 99.0, NodeState.STOPPED, MachineReport("", low)),
        node("e", 1.0, NodeState.ACTIVE, None),
    ]
    server = {"hostname": "mx.gate.example", "node": "a"}
    gatherer = facts(nodes=lambda: nodes, shared=Shared(), server=server)
    gatherer.find(0.0)
    own, *others = gatherer.find(60.0).machines
    assert (own.node, own.refusals) == ("a", ())
    assert others == [
        MachineFacts(("the disk is full",), 2, low, ended, "b"),
        MachineFacts((), 1, low, (), "c"),
    ], "what a dead one said last stands; one of an earlier version says nothing"
    assert [machine.node for machine in facts(nodes=lambda: nodes).find(0.0).machines] == [""], "one alone has no name"


def test_a_process_of_a_dead_node_ended_an_hour_ago_at_most(facts):
    """Nobody there says any more that an hour is over."""
    ended = EndedProcess("metrics", "signal 9", 10_000.0, 1), EndedProcess("worker 1", "signal 9", 12_000.0, 1)
    dead = node("b", 99.0, NodeState.DEAD, MachineReport("", None, ended))
    gatherer = facts(nodes=lambda: [dead], shared=Shared(), server={"hostname": "mx.gate.example", "node": "a"})
    told = [[end.name for end in gatherer.find(now).machines[1].ended] for now in (13_500.0, 13_700.0, 15_700.0)]
    assert told == [["metrics", "worker 1"], ["worker 1"], []]


def test_of_the_machine_of_a_node_the_latest_heartbeat_holds(facts):
    """A worker that hangs, and is not heard of, says for ever what it said."""
    low, well = DiskRoom("/data", 1, 2), DiskRoom("/data", 1 << 40, 2)
    beats = [
        WorkerBeat(number, 1, age, 1, NodeFigures(machine=MachineReport("", disk)))
        for number, age, disk in ((0, 900.0, low), (1, 2.0, well))
    ]
    lives = Node("b", "host of b", "1", (), 0.0, 2.0, NodeState.ACTIVE, tuple(beats), ())
    gatherer = facts(nodes=lambda: [lives], shared=Shared(), server={"hostname": "mx.gate.example", "node": "a"})
    assert gatherer.find(0.0).machines[1].disk == well


def test_what_is_told_without_the_database_is_not_told_here(facts):
    """The lease ends with what is not stored: nobody would tell of the end."""
    failure, looks = StoreFailure("away"), [(), None, (), ()]
    mail = MailFacts(failing=(HOP, replace(HOP, result_type=RECORDS_DOWN)))
    gatherer = facts(mail, nodes=lambda: looks.pop(0), shared=Shared(), failure=lambda: failure)
    gatherer._known = 1, ["contoso"], ()
    found = [gatherer.find(60.0 * number) for number in range(4)]
    assert [[machine.refusals for machine in one.machines] for one in found] == [[()], [()], [()], [("away",)]], (
        "what was found at the first look after it may be of before"
    )
    assert [len(one.failing) for one in found] == [1, 1, 1, 2], "nor can it write records"
    assert [one.silent for one in found] == [None, None, None, ()]


def test_clocks_of_nodes_are_compared_with_the_databases(facts):
    def beating(name, offset, state=NodeState.ACTIVE):
        figures = NodeFigures(machine=MachineReport(""), offset=offset)
        return Node(name, "host", "1", (), 0.0, 1.0, state, (WorkerBeat(0, 1, 1.0, 1, figures),), ())

    nodes = [beating("a", 3600.0), beating("b", -400.0), beating("c", 900.0, NodeState.DEAD)]
    gatherer = facts(nodes=lambda: nodes, shared=Shared(), server={"hostname": "mx.gate.example", "node": "a"})
    gatherer._ahead = lambda: 0.0
    assert [(one.node, one.ahead) for one in gatherer.find(0.0).machines] == [("a", 3600.0), ("b", -400.0), ("c", 0.0)]
    gatherer._ahead = lambda: 3600.0
    assert gatherer.find(0.0).machines[0].ahead == 0.0, "one alarm says it already"
