from __future__ import annotations

import pytest

from gatepost.analysis.alarms.alarm import Kind, Severity
from gatepost.analysis.checks.presentation import (
    SETTLING_SECONDS,
    PresentationProblem,
    presentation_alarms,
    presentation_problems,
)
from gatepost.pki.certificates.entry import Origin, Purpose, State
from gatepost.store.nodes import (
    CertificateObservation,
    ListenerObservation,
    Node,
    NodeFigures,
    NodeState,
    UnusableKey,
    WorkerBeat,
)
from gatepost.values import replace

NOW = 1_000_000.0
OURS, OLD, STRANGE = "aa" * 32, "bb" * 32, "cc" * 32


@pytest.fixture
def entries(entry):
    def made(sha256, state, **fields):
        one = entry("x")
        leaf = replace(one.leaf, sha256=sha256)
        settled = {"since": NOW - 3600, "current_from": NOW - 3600, "origin": Origin.UPLOAD}
        return replace(one, id=sha256[:16], leaf=leaf, state=state, **{**settled, **fields})

    def several(**fields):
        both = (made(OURS, State.CURRENT, **fields), made(OLD, State.DEPRECATED))
        return {one.id: one for one in both}

    return several


def node(*held, shown=None, at=NOW, unusable=(), name="mx1", state=NodeState.ACTIVE):
    """held: certificates of each worker. shown: by its one listener."""
    listeners = () if shown is None else (ListenerObservation("mx :25", shown),)
    look = None if shown is None and not unusable else CertificateObservation(at, listeners, unusable)
    workers = tuple(
        WorkerBeat(number, 1, 0.0, 1, NodeFigures(certificates=each, observed=None if number else look))
        for number, each in enumerate(held)
    )
    return Node(name, "host", "1.0", (), 0.0, 0.0, state, workers, ())


@pytest.mark.parametrize(
    ("one", "texts"),
    [
        (node((OURS,), (OURS,), shown=(OURS,)), []),
        (node((OURS,)), []),
        (node((OURS,), (OLD,)), ["missing in 1 of 2 workers"]),
        (
            node((OLD,), shown=(OLD,)),
            [f"missing in 1 of 1 worker; mx :25 presents {OLD[:16]}"],
        ),
        (node((OLD,), shown=()), ["missing in 1 of 1 worker"]),
        (node((OURS,), shown=(OLD,)), [f"mx :25 presents {OLD[:16]}, which is deprecated"]),
        (node((OURS,), shown=(OURS, STRANGE)), [f"mx :25 presents {STRANGE[:16]}, which is not known here"]),
        (node((OURS, STRANGE), shown=(OURS, STRANGE)), []),  # of the settings, recorded soon
        (node((OURS,), shown=(OLD,), at=NOW - 3600), []),  # looked before the change
        (node((OLD,), state=NodeState.DEAD), []),
        (node(), []),
        (node((OURS,), unusable=(UnusableKey(OURS[:16], "no key"), UnusableKey("gone", "no key"))), ["no key"]),
    ],
)
def test_what_is_wrong_at_a_node(entries, one, texts):
    assert [problem.text for problem in presentation_problems(entries(), [one], now=NOW)] == texts


def test_a_switch_takes_a_moment(entries):
    fresh = entries(since=NOW - 5, current_from=NOW - 5)
    late = node((OLD,), shown=(OLD,), unusable=(UnusableKey(OLD[:16], "no key"),))
    assert [problem.text for problem in presentation_problems(fresh, [late], now=NOW)] == ["no key"]
    assert len(presentation_problems(fresh, [late], now=NOW + SETTLING_SECONDS)) == 2


@pytest.mark.parametrize("fields", [{"origin": Origin.SETTINGS}, {"purpose": Purpose.CLIENT}])
def test_settings_are_of_each_node_and_clients_of_none(entries, fields):
    assert presentation_problems(entries(**fields), [node(())], now=NOW) == []
    assert presentation_problems({}, [node(())], now=NOW) == []


def test_alarms_are_one_for_each_certificate_and_node(entries):
    nodes = [
        node((OLD,), unusable=(UnusableKey(OURS[:16], "key.pem: Permission denied"), UnusableKey(OLD[:16], "gone"))),
        node((OURS,), shown=(STRANGE, OLD), name="mx2"),
        node((OLD,), name="mx3"),
    ]
    known = entries()
    alarms = list(presentation_alarms(presentation_problems(known, nodes, now=NOW), known))
    assert [(alarm.kind, alarm.severity, alarm.certificate, alarm.about) for alarm in alarms] == [
        (Kind.KEY_UNUSABLE, Severity.CRITICAL, OURS[:16], "mx1"),
        (Kind.KEY_UNUSABLE, Severity.ERROR, OLD[:16], "mx1"),
        (Kind.NOT_PRESENTED, Severity.ERROR, "", "mx2"),
        (Kind.NOT_PRESENTED, Severity.ERROR, OURS[:16], "mx3"),
    ], "what mx1 does not present, as its key is missing, is named once"
    assert alarms[0].title.startswith(f"the key of the certificate {OURS[:16]}")
    assert alarms[0].detail == "Key.pem: Permission denied."
    assert alarms[0].lines == ()
    in_file = replace(known[OURS[:16]], chain_file="/etc/a b.pem")
    (found,) = presentation_alarms([PresentationProblem("mx1", OURS[:16], "gone", unusable=True)], {OURS[:16]: in_file})
    assert found.lines == ("gatepost check chain '/etc/a b.pem'",)
    assert found.fix.startswith("Restore the key and its certificate in their files there, in the order")
    assert alarms[2].title == "node mx2 presents a certificate that is not current"
    assert len({alarm.key for alarm in alarms}) == 4
    removed = PresentationProblem("mx1", "gone", "no key", unusable=True)
    assert next(presentation_alarms([removed], known)).title == "the key of a certificate cannot be used on node mx1"
