from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.decisions.destination_history import (
    CLASSICAL_FOR,
    FORGOTTEN_AFTER,
    HOSTS,
    Acceptance,
    DestinationHistory,
    DestinationName,
    SeenSession,
    accept,
    below,
    best,
    classical_still,
    describe_drop,
    drop,
    due_to_warn,
    expected,
    seen,
    warned,
)
from gatepost.policy.decisions.facts import ClassicalOnly
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel

DAY = 86400.0
START = 1_700_000_000.0
CLEAR, TLS, AUTH = (Achieved(level) for level in TlsLevel)
STS, DNSSEC = (Achieved(TlsLevel.AUTHENTICATED, level) for level in (MxLevel.MTA_STS, MxLevel.DNSSEC))


def session(achieved: Achieved, days: float = 0.0, host: str = "mx1", **fields) -> SeenSession:
    version = "TLSv1.3" if achieved.tls else ""
    return SeenSession(host, achieved, START + days * DAY, version, **fields)


def after(*sessions: SeenSession) -> DestinationHistory:
    remembered = DestinationHistory()
    for one in sessions:
        remembered = seen(remembered, one)
    return remembered


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (DestinationName("contoso", "b.example"), "b.example"),
        (DestinationName("contoso", "b.example", "bank"), "b.example (connector:bank)"),
        (DestinationName("contoso", "", "bank"), "connector:bank"),
    ],
)
def test_a_destination_is_named(name, text):
    assert str(name) == text


def test_nothing_is_expected_of_who_was_never_seen():
    assert best(DestinationHistory(), START).achieved == CLEAR
    assert drop(DestinationHistory(), session(CLEAR)) is None
    assert DestinationHistory().at == 0


# seen before, now -> what it was to be, None if that is fine
DROPS = [
    (TLS, TLS, None),
    (TLS, AUTH, None),
    (CLEAR, CLEAR, None),
    (TLS, CLEAR, TLS),
    (AUTH, TLS, AUTH),
    (AUTH, CLEAR, AUTH),
    (DNSSEC, DNSSEC, None),
    (DNSSEC, STS, DNSSEC),
    (STS, AUTH, STS),
    (STS, DNSSEC, None),
    (STS, Achieved(TlsLevel.ENCRYPTED, MxLevel.DNSSEC), STS),
    (Achieved(TlsLevel.ENCRYPTED, MxLevel.DNSSEC), AUTH, Achieved(TlsLevel.ENCRYPTED, MxLevel.DNSSEC)),
]


@pytest.mark.parametrize(("before", "now", "was"), DROPS)
def test_lower_on_either_ladder_is_a_drop(before, now, was):
    fallen = drop(after(session(before)), session(now, 1))
    assert (fallen and fallen.was) == was
    if fallen is not None:
        assert (fallen.since, fallen.now, fallen.host) == (START, now, "mx1")


@pytest.mark.parametrize(
    ("before", "now", "known"),
    [(AUTH, TLS, {"tls_known": False}), (DNSSEC, AUTH, {"mx_known": False}), (STS, AUTH, {"mx_known": False})],
)
def test_what_we_could_not_find_out_is_not_held_against_it_nor_remembered_as_worse(before, now, known):
    remembered = after(session(before))
    assert drop(remembered, session(now, 1, **known)) is None
    assert below(seen(remembered, session(now, 1, **known)), START + DAY) == []
    assert below(after(session(now, **known)), START) == []


def test_since_when_is_the_first_time_at_that_level():
    remembered = after(session(CLEAR), session(TLS, 1), session(AUTH, 2), session(TLS, 3), session(AUTH, 4))
    assert best(remembered, START + 4 * DAY).tls_since == START + 2 * DAY
    assert best(remembered, START + 4 * DAY).mx_since == START
    host = remembered.hosts["mx1"]
    assert (host.first, host.at, host.last, host.version) == (START, START + 4 * DAY, AUTH, "TLSv1.3")
    assert [(span.since - START, span.last - START) for span in host.tls] == [(DAY, 4 * DAY), (2 * DAY, 4 * DAY)]
    assert remembered.at == START + 4 * DAY


def test_a_level_that_is_not_seen_any_more_is_forgotten_step_by_step():
    remembered = after(session(AUTH), session(TLS, 30), session(CLEAR, 50))
    days = FORGOTTEN_AFTER / DAY
    for day, level in [(51, AUTH), (days, AUTH), (days + 1, TLS), (days + 30, TLS), (days + 31, CLEAR)]:
        assert best(remembered, START + day * DAY).achieved == level, day
    again = seen(remembered, session(AUTH, days + 40))
    assert best(again, START + (days + 40) * DAY).tls_since == START + (days + 40) * DAY
    gone = seen(remembered, session(TLS, 2 * days, "mx2"))
    assert list(gone.hosts) == ["mx2"]
    assert below(remembered, START + (days + 51) * DAY) == []


def test_a_session_that_tells_nothing_new_is_not_written_again():
    remembered = after(session(AUTH))
    assert seen(remembered, session(AUTH, 0.001)) is remembered
    assert seen(remembered, session(AUTH, -5)) is remembered
    assert seen(remembered, session(TLS, 0.001)) is not remembered
    assert seen(remembered, SeenSession("mx1", AUTH, START, "TLSv1.2")) is not remembered
    assert seen(remembered, session(AUTH, 0.01)) is not remembered
    # The clock went back; what is worse is known at once all the same.
    assert seen(remembered, session(TLS, -5)).hosts["mx1"].at == START


# the sessions before, the session, whether it is news, None if it is no drop
HOSTS_OF_A_DOMAIN = [
    ([session(AUTH)], session(AUTH, 1, "mx2"), None),
    ([session(AUTH)], session(CLEAR, 1, "mx2"), True),  # mx2 appears when mx1 is out of reach
    ([session(AUTH), session(CLEAR, 0, "mx2")], session(CLEAR, 0.5, "mx2"), True),
    ([session(AUTH), session(CLEAR, 0, "mx2")], session(CLEAR, 2, "mx2"), False),  # it always was like this
    ([session(AUTH), session(TLS, 0, "mx2")], session(CLEAR, 2, "mx2"), True),
    ([session(DNSSEC), session(TLS, 0, "mx2"), session(STS, 0.1, "mx2")], session(AUTH, 2, "mx2"), True),
]


@pytest.mark.parametrize(("before", "now", "news"), HOSTS_OF_A_DOMAIN)
def test_a_domain_is_as_good_as_its_best_host(before, now, news):
    fallen = drop(after(*before), now)
    assert (fallen and fallen.news) == news


def test_news_is_told_every_hour_and_an_old_weakness_every_day():
    remembered = after(session(AUTH), session(CLEAR, 0, "mx2"))
    news, old = drop(remembered, session(CLEAR, 2)), drop(remembered, session(CLEAR, 2, "mx2"))
    assert news.news
    assert not old.news
    now = START + 2 * DAY
    assert due_to_warn(remembered, news, now)
    told = warned(remembered, now)
    for fallen, seconds, due in [
        (news, 0, False),
        (news, 3599, False),
        (news, 3600, True),
        (old, 3600, False),
        (old, 86400, True),
        (news, -1, True),  # the clock went back
    ]:
        assert due_to_warn(told, fallen, now + seconds) is due, (fallen.host, seconds)
    assert seen(told, session(AUTH, 3)).warned == now


def test_accepting_lowers_what_is_expected_until_it_does_better():
    remembered = warned(after(session(AUTH), session(CLEAR, 1)), START + DAY)
    accepted = accept(remembered, at=START + DAY, by="ann")
    assert best(accepted, START + DAY).achieved == CLEAR
    assert accepted.hosts["mx1"].accepted is None  # no other host is better: there is nothing to bear with
    assert accepted.warned == 0
    assert drop(accepted, session(CLEAR, 2)) is None
    better = seen(accepted, session(TLS, 3))
    assert drop(better, session(CLEAR, 4)).was == TLS


def test_accepting_a_weaker_host_leaves_the_good_one_to_its_best():
    remembered = after(session(AUTH), session(CLEAR, 0, "mx2"))
    accepted = accept(remembered, at=START + DAY, by="ann")
    assert accepted.hosts["mx2"].accepted == Acceptance(CLEAR, START + DAY, "ann")
    assert accepted.hosts["mx1"].accepted is None
    assert below(remembered, START + DAY)[0].host == "mx2"
    assert below(accepted, START + DAY) == []
    assert drop(accepted, session(CLEAR, 2, "mx2")) is None
    assert drop(accepted, session(CLEAR, 2)).was == AUTH
    better = seen(accepted, session(TLS, 2, "mx2"))
    again = drop(better, session(CLEAR, 3, "mx2"))
    assert (again.was, again.since) == (TLS, START + 2 * DAY)
    assert expected(better, "mx2", START + 3 * DAY).achieved == TLS


def test_accepting_looks_at_the_mx_ladder_too():
    accepted = accept(after(session(DNSSEC), session(AUTH, 0, "mx2")), at=START, by="ann")
    assert accepted.hosts["mx2"].accepted.level == AUTH
    assert drop(accepted, session(AUTH, 1, "mx2")) is None
    better = seen(accepted, session(STS, 1, "mx2"))
    again = drop(better, session(AUTH, 2, "mx2"))
    assert (again.was, again.since) == (STS, START + DAY)


def test_only_so_many_hosts_are_remembered_and_never_without_the_best():
    remembered = after(session(AUTH))
    for number in range(3 * HOSTS):
        remembered = seen(remembered, session(CLEAR, 1 + number, f"fake{number}"))
    assert len(remembered.hosts) == HOSTS
    assert "mx1" in remembered.hosts
    assert "fake0" not in remembered.hosts
    assert drop(remembered, session(CLEAR, 50, "fake99")).was == AUTH


def test_a_drop_is_described_as_other_shortfalls_are():
    fallen = drop(after(session(STS)), session(CLEAR, 1))
    assert describe_drop(fallen) == (
        "Expected: mta-sts/authenticated, as seen since 2023-11-14 22:13Z. Presented: none/none by mx1."
    )


LEVELS = st.builds(Achieved, st.sampled_from(TlsLevel), st.sampled_from(MxLevel))
SESSIONS = st.lists(
    st.builds(session, LEVELS, st.floats(0, 50), st.sampled_from(["mx1", "mx2", "mx3"])), min_size=1, max_size=12
)


@given(SESSIONS, st.sampled_from(["mx1", "mx2", "mx4"]))
def test_as_good_as_ever_is_never_a_drop_and_worse_always_is(sessions, host):
    remembered = after(*sessions)
    top = Achieved(max(one.achieved.tls for one in sessions), max(one.achieved.mx for one in sessions))
    assert best(remembered, START + 50 * DAY).achieved == top
    assert drop(remembered, session(top, 50, host)) is None
    for lower in TlsLevel:
        if lower < top.tls:
            assert drop(remembered, session(Achieved(lower, top.mx), 50, host)).was == top


@given(SESSIONS)
def test_the_order_of_workers_writes_does_not_matter_for_what_is_expected(sessions):
    one, other = after(*sessions), after(*reversed(sessions))
    assert best(one, START + 50 * DAY).achieved == best(other, START + 50 * DAY).achieved


@given(SESSIONS)
def test_after_accepting_nothing_is_below_and_nothing_more_is_expected_than_before(sessions):
    now = START + 50 * DAY
    remembered = after(*sessions)
    accepted = accept(remembered, at=now, by="ann")
    assert below(accepted, now) == []
    for host in remembered.hosts:
        before, behind = expected(remembered, host, now).achieved, expected(accepted, host, now).achieved
        assert behind.tls <= before.tls
        assert behind.mx <= before.mx


UNANSWERED = ClassicalOnly("the peer closed the connection during the handshake", START)


def test_a_host_that_left_a_handshake_unanswered_is_remembered_until_it_agrees_on_another():
    once = after(session(TLS, classical=UNANSWERED))
    assert once.hosts["mx1"].classical == UNANSWERED
    again = seen(once, session(TLS, 0.001, classical=UNANSWERED))
    assert again is once, "not worth writing down"
    in_clear = seen(once, session(CLEAR, 0.5))
    assert in_clear.hosts["mx1"].classical == UNANSWERED, "nothing was offered"
    better = seen(in_clear, session(TLS, 0.501))
    assert better.hosts["mx1"].classical is None


@pytest.mark.parametrize(
    ("known", "seconds", "still"),
    [
        (None, 0, None),
        (UNANSWERED, 0, UNANSWERED),
        (UNANSWERED, CLASSICAL_FOR - 1, UNANSWERED),
        (UNANSWERED, CLASSICAL_FOR, None),
        (UNANSWERED, -1, None),
    ],
)
def test_after_a_day_it_is_tried_again(known, seconds, still):
    assert classical_still(known, START + seconds) == still
