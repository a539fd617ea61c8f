from __future__ import annotations

import pytest

from gatepost.policy.decisions.destination_history import DestinationHistory, DestinationName, SeenSession, seen, warned
from gatepost.policy.decisions.requirement import Achieved, TlsLevel
from gatepost.store import destinations as module
from gatepost.store.destinations import NotedSession, NotedSessions, with_sessions

PARTNER, OTHER = DestinationName("contoso", "partner.example"), DestinationName("contoso", "", "Bank")


def session(host: str, at: float = 1_700_000_000.0) -> SeenSession:
    return SeenSession(host, Achieved(TlsLevel.ENCRYPTED), at, "TLSv1.3")


def hosts(noted: list[NotedSession]) -> list[str]:
    return [one.host for one, _ in noted]


@pytest.fixture
def noted() -> NotedSessions:
    return NotedSessions("disk")


def test_sessions_are_known_until_they_are_written(noted: NotedSessions) -> None:
    noted.note(PARTNER, session("mx1"), logged=False)
    noted.note(OTHER, session("bank"), logged=True)
    with noted.leaving() as leaving:
        assert {name: hosts(some) for name, some in leaving.items()} == {PARTNER: ["mx1"], OTHER: ["bank"]}
        noted.note(PARTNER, session("mx2"), logged=False)
        assert hosts(noted.of(PARTNER)) == ["mx1", "mx2"]
    assert hosts(noted.of(PARTNER)) == ["mx2"]
    assert noted.of(OTHER) == []
    assert len(noted) == 1


def test_sessions_that_cannot_be_written_come_before_those_of_later(noted: NotedSessions) -> None:
    noted.note(PARTNER, session("mx1"), logged=False)

    def fail() -> None:
        with noted.leaving():
            noted.note(PARTNER, session("mx2"), logged=False)
            raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        fail()
    assert hosts(noted.of(PARTNER)) == ["mx1", "mx2"]
    with noted.leaving() as leaving:
        assert hosts(leaving[PARTNER]) == ["mx1", "mx2"]
    assert len(noted) == 0


def test_where_too_many_wait_they_are_dropped_and_the_log_says_how_many(
    noted: NotedSessions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 2)
    for number in range(5):
        noted.note(PARTNER, session(f"mx{number}"), logged=False)
    with noted.leaving() as leaving:
        assert hosts(leaving[PARTNER]) == ["mx0", "mx1"]
    assert caplog.messages == ["the memory of destinations: 3 sessions were dropped, the disk is behind"]
    with noted.leaving():
        pass
    assert len(caplog.messages) == 1
    noted.note(PARTNER, session("mx5"), logged=False)
    assert hosts(noted.of(PARTNER)) == ["mx5"]


def test_a_history_with_sessions_has_their_lines_in_the_log(noted: NotedSessions) -> None:
    first, second = session("mx1"), session("mx2", 1_700_000_100.0)
    wanted = warned(seen(seen(DestinationHistory(), first), second), second.at)
    assert with_sessions(DestinationHistory(), [(first, False), (second, True)]) == wanted
