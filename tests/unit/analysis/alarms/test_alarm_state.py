from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.alarms.alarm import (
    Alarm,
    AlarmEvent,
    AlarmStatus,
    Kind,
    Memory,
    News,
    Severity,
    Trouble,
    advance,
    decoded,
    due_post,
    encoded,
    failed_post,
    mail_is_due,
    mailed,
    next_post,
    posted,
    to_be_posted,
    until_now,
)
from gatepost.values import replace

NOW = 1_800_000_000.0
DAY = 86400.0
URL = "http://crl.example/1"


def alarm(severity: Severity = Severity.ERROR, kind: Kind = Kind.REVOKED, **fields: Any) -> Alarm:
    return Alarm(kind, severity, fields.pop("certificate", "a"), "title", "detail", "fix", **fields)


def never(_: Alarm) -> bool:
    return False


def always(_: Alarm) -> bool:
    return True


def run(*looks: tuple[float, list[Alarm]]) -> tuple[Memory, list[list[str]]]:
    """The memory in the end, and the events of each look; times counted from NOW."""
    memory, events = Memory(), []
    for at, found in looks:
        memory, news = advance(memory, found, never, now=NOW + at)
        events.append([str(one.event) for one in news])
    return memory, events


ERROR, WARNING, CRITICAL = alarm(), alarm(Severity.WARNING), alarm(Severity.CRITICAL)
EXPIRY = {
    step: alarm(level, Kind.EXPIRY, step=step) for step, level in ((30, Severity.WARNING), (14, Severity.WARNING))
}
EXPIRY[7] = alarm(Severity.ERROR, Kind.EXPIRY, step=7)
EXPIRY[0] = alarm(Severity.CRITICAL, Kind.EXPIRY, step=0)

# looks: days from the start, what is found -> what is told at each
COURSES: list[tuple[list[tuple[float, list[Alarm]]], list[list[str]]]] = [
    (
        [(0, [ERROR]), (0, [ERROR]), (0.9, [ERROR]), (1, [ERROR]), (1.5, [ERROR])],
        [["raised"], [], [], ["repeated"], []],
    ),
    ([(0, [WARNING]), (1, [WARNING]), (7, [WARNING])], [["raised"], [], ["repeated"]]),
    ([(0, [CRITICAL]), (1, [CRITICAL])], [["raised"], ["repeated"]]),
    ([(0, [ERROR]), (1, []), (2, []), (3, [ERROR])], [["raised"], ["cleared"], [], ["raised"]]),
    ([(0, [WARNING]), (0.1, [CRITICAL]), (0.2, [WARNING])], [["raised"], ["raised"], ["raised"]]),
    ([(0, [EXPIRY[30]]), (15, [EXPIRY[30]]), (16, [EXPIRY[14]])], [["raised"], [], ["raised"]]),
    (
        [(0, [EXPIRY[7]]), (5, [EXPIRY[7]]), (7, [EXPIRY[0]]), (8, [EXPIRY[0]])],
        [["raised"], [], ["raised"], ["repeated"]],
    ),
    ([(0, [ERROR, alarm(certificate="b")]), (0.1, [ERROR])], [["raised", "raised"], ["cleared"]]),
    ([(0, [])], [[]]),
]


@pytest.mark.parametrize(("looks", "events"), COURSES)
def test_what_is_told_when(looks, events):
    _, told = run(*((days * DAY, found) for days, found in looks))
    assert told == events


def test_since_stays_what_it_was():
    memory, _ = run((0, [ERROR]), (2 * DAY, [replace(ERROR, title="other")]))
    assert [(one.title, one.since) for one in memory.alarms] == [("other", NOW)]


def test_what_nothing_is_known_of_stays_without_a_word():
    memory, _ = run((0, [ERROR]))
    memory, news = advance(memory, [], always, now=NOW + 30 * DAY)
    assert (news, memory.alarms) == ((), (replace(ERROR, since=NOW),))


ALARMS = st.builds(
    alarm,
    st.sampled_from(Severity),
    st.sampled_from(Kind),
    certificate=st.sampled_from("abc"),
    about=st.sampled_from(["", "x"]),
    step=st.sampled_from([-1, 0, 1, 7]),
)
FOUND = st.lists(ALARMS, max_size=8, unique_by=lambda one: one.key)


@given(FOUND, FOUND, st.floats(0, 3600))
def test_the_same_facts_twice_tell_nothing_twice(before, found, later):
    memory, _ = advance(Memory(), before, never, now=NOW)
    memory, _ = advance(memory, found, never, now=NOW)
    again, news = advance(memory, found, never, now=NOW + later)
    assert news == ()
    assert again.standing == memory.standing
    assert {one.key for one in again.alarms} == {one.key for one in found}


@given(FOUND, FOUND)
def test_every_alarm_that_was_raised_is_cleared_once(before, after):
    memory, raised = advance(Memory(), before, never, now=NOW)
    assert {one.event for one in raised} <= {AlarmEvent.RAISED}
    memory, news = advance(memory, after, never, now=NOW + 1)
    over = {one.alarm.key for one in news if one.event is AlarmEvent.CLEARED}
    assert over == {one.key for one in before} - {one.key for one in after}
    _, rest = advance(memory, after, never, now=NOW + 2)
    assert rest == ()


@given(FOUND, st.booleans())
def test_what_is_kept_reads_back(found, was_mailed):
    memory, _ = advance(Memory(troubles={URL: Trouble(NOW, 2, "CRL", "HTTP 500", "a")}), found, never, now=NOW)
    memory = mailed(memory, now=NOW) if was_mailed else memory
    assert decoded(encoded(memory)) == memory


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b'{"standing": 5}', b'{"standing": [{"alarm": {"kind": "new"}}]}']
)
def test_what_cannot_be_read_is_nothing(content):
    assert decoded(content) == Memory()


# mail


def after_mail(memory: Memory, at: float) -> Memory:
    return mailed(memory, now=NOW + at)


def test_mail_of_what_is_not_critical_goes_once_a_day():
    memory, _ = run((0, [ERROR]))
    assert mail_is_due(memory, now=NOW)
    memory = after_mail(memory, 0)
    assert not mail_is_due(memory, now=NOW + 5 * DAY), "nothing is new"
    more, _ = advance(memory, [ERROR, alarm(certificate="b")], never, now=NOW + 60)
    assert [mail_is_due(more, now=NOW + at) for at in (60, DAY - 1, DAY)] == [False, False, True]
    repeated, _ = advance(memory, [ERROR], never, now=NOW + DAY)
    assert mail_is_due(repeated, now=NOW + DAY)
    over, _ = advance(memory, [], never, now=NOW + 60)
    assert over.cleared == memory.alarms
    assert [mail_is_due(over, now=NOW + at) for at in (60, DAY)] == [False, True]
    assert after_mail(over, DAY).cleared == ()


def test_mail_of_what_is_critical_goes_at_once():
    memory = after_mail(run((0, [ERROR]))[0], 0)
    worse, _ = advance(memory, [ERROR, alarm(Severity.CRITICAL, certificate="b")], never, now=NOW + 60)
    assert [mail_is_due(worse, now=NOW + at) for at in (60, 299, 300)] == [False, False, True]
    told = after_mail(worse, 300)
    assert not mail_is_due(told, now=NOW + 900)
    assert [one.mailed for one in told.standing] == [NOW + 300] * 2


def test_an_alarm_that_grows_is_mailed_anew():
    memory = after_mail(run((0, [EXPIRY[7]]))[0], 0)
    memory, _ = advance(memory, [EXPIRY[0]], never, now=NOW + 600)
    assert mail_is_due(memory, now=NOW + 600)


def test_what_comes_and_goes_does_not_fill_a_mailbox():
    memory = after_mail(run((0, [CRITICAL]))[0], 0)
    for minute in range(10, 200, 10):
        at = minute * 60
        memory, _ = advance(memory, [CRITICAL] if minute % 20 else [], never, now=NOW + at)
        assert not mail_is_due(memory, now=NOW + at)
    memory, _ = advance(memory, [], never, now=NOW + 0.5 * DAY)
    memory, _ = advance(memory, [], never, now=NOW + 1.6 * DAY)
    assert memory.lately == {}
    memory, _ = advance(memory, [CRITICAL], never, now=NOW + 1.6 * DAY)
    assert mail_is_due(memory, now=NOW + 1.6 * DAY)


def test_the_end_of_what_was_critical_is_mailed_when_it_stays_over():
    critical, other = alarm(Severity.CRITICAL, certificate="b"), alarm(Severity.CRITICAL, certificate="c")
    memory = after_mail(run((0, [critical, ERROR]))[0], 0)
    memory, _ = advance(memory, [ERROR], never, now=NOW + 600)
    assert [mail_is_due(memory, now=NOW + at) for at in (600, 1499, 1500)] == [False, False, True]
    worse = after_mail(advance(memory, [ERROR, other], never, now=NOW + 700)[0], 700)
    assert not mail_is_due(worse, now=NOW + 5000), "another one is active"
    memory = after_mail(memory, 1500)
    assert not mail_is_due(memory, now=NOW + 5000)


def test_what_was_said_to_be_over_is_mailed_again_and_its_end_once_a_day():
    memory = after_mail(advance(after_mail(run((0, [CRITICAL]))[0], 0), [], never, now=NOW + 600)[0], 1500)
    memory, _ = advance(memory, [CRITICAL], never, now=NOW + 2000)
    assert mail_is_due(memory, now=NOW + 2000)
    memory, _ = advance(after_mail(memory, 2000), [], never, now=NOW + 2600)
    assert not mail_is_due(memory, now=NOW + 9000), "it comes and goes"
    memory, _ = advance(memory, [CRITICAL], never, now=NOW + 9000)
    assert not mail_is_due(memory, now=NOW + 9000)
    memory, _ = advance(memory, [], never, now=NOW + 9100)
    assert not mail_is_due(memory, now=NOW + DAY)
    assert mail_is_due(memory, now=NOW + 1500 + DAY), "the last mail said that it is active"
    assert until_now(memory, now=NOW).resolved == {CRITICAL.key: NOW}


def test_what_is_over_before_any_mail_told_of_it_needs_none():
    memory, _ = run((0, [ERROR]), (60, []))
    assert memory.cleared == ()
    assert not mail_is_due(memory, now=NOW + DAY)


def test_what_is_back_is_not_told_to_be_over():
    memory, _ = advance(after_mail(run((0, [ERROR]))[0], 0), [], never, now=NOW + 60)
    assert len(memory.cleared) == 1
    memory, _ = advance(memory, [ERROR], never, now=NOW + 120)
    assert memory.cleared == ()


def test_nothing_grows_without_end():
    many = [alarm(certificate=f"{number}") for number in range(500)]
    memory, news = advance(Memory(), many, never, now=NOW)
    assert (len(memory.standing), len(news)) == (200, 200)
    assert isinstance(memory.standing[0], AlarmStatus)


# posts


NEWS = (News(AlarmEvent.RAISED, ERROR),)


def test_what_is_posted_goes_in_order_and_once():
    memory = to_be_posted(Memory(), NEWS, now=NOW)
    memory = to_be_posted(memory, NEWS, now=NOW + 1)
    assert to_be_posted(memory, (), now=NOW + 2) is memory
    assert decoded(encoded(memory)) == memory
    first, second = memory.posts
    assert first.id != second.id
    assert (due_post(memory, now=NOW), next_post(memory)) == (first, NOW)
    memory = failed_post(memory, first, now=NOW)
    assert due_post(memory, now=NOW + 5) is None, "the others wait with the first"
    again = due_post(memory, now=NOW + 10)
    assert again is not None
    assert (again.id, again.tries, again.news) == (first.id, 1, NEWS)
    memory = posted(memory, again)
    assert due_post(memory, now=NOW + 10) == second
    memory = posted(memory, second)
    assert (due_post(memory, now=NOW + 10), next_post(memory)) == (None, float("inf"))


def test_a_post_that_nobody_takes_is_tried_for_a_day():
    memory, now, tries = to_be_posted(Memory(), NEWS, now=NOW), NOW, 0
    while (post := due_post(memory, now=now)) is not None:
        memory, tries = failed_post(memory, post, now=now), tries + 1
        now = next_post(memory) if memory.posts else now
    assert NOW + DAY <= now < NOW + DAY + 3600
    assert 24 < tries < 40


def test_posts_have_an_end():
    memory = Memory()
    for number in range(80):
        memory = to_be_posted(memory, NEWS, now=NOW + number)
    assert len(memory.posts) == 50
    assert memory.posts[-1].at == NOW + 79


def test_times_to_come_silence_nothing() -> None:
    """A clock that was a year ahead, or somebody who wrote them."""
    later = NOW + 365 * DAY
    memory, _ = advance(Memory(), [CRITICAL], never, now=later)
    memory = mailed(to_be_posted(memory, (News(AlarmEvent.RAISED, CRITICAL),), now=later), now=later)
    memory = replace(memory, lately={"another": later}, posts=(replace(memory.posts[0], tries=-100),))
    memory = until_now(memory, now=NOW)
    memory, news = advance(memory, [CRITICAL], never, now=NOW + DAY)
    assert [item.event for item in news] == [AlarmEvent.REPEATED]
    assert mail_is_due(memory, now=NOW + DAY)
    assert memory.lately == {}
    (post,) = memory.posts
    assert due_post(memory, now=NOW + DAY) == post
    assert failed_post(memory, post, now=NOW + 10).posts[0].due == NOW + 20
    assert until_now(memory, now=NOW + DAY) == memory
