from __future__ import annotations

import pytest

from gatepost.mail.inbound.failed_handshakes import AGAIN_SECONDS, FailedHandshakes

ALERT = "tlsv1 alert unknown ca"


@pytest.fixture
def now():
    return [5.2]


@pytest.fixture
def failed(now):
    return FailedHandshakes(clock=lambda: now[0])


def test_a_client_is_told_of_once_for_each_reason_and_again_after_a_while(failed, now):
    assert failed.is_news("203.0.113.9", ALERT, known=False)
    assert not failed.is_news("203.0.113.9", ALERT, known=True)
    assert failed.is_news("203.0.113.9", "unsupported protocol", known=False)
    now[0] += AGAIN_SECONDS - 0.1
    assert not failed.is_news("203.0.113.9", ALERT, known=False)
    now[0] += 0.2
    assert failed.is_news("203.0.113.9", ALERT, known=False)


def test_a_network_of_ipv6_is_one_client(failed):
    assert failed.is_news("2001:db8::1", ALERT, known=False)
    assert not failed.is_news("2001:db8::2", ALERT, known=False)


def test_a_flood_leaves_the_room_of_known_clients(failed, now):
    told = [failed.is_news(f"203.0.113.{number}", ALERT, known=False) for number in range(100)]
    assert sum(told) == 60
    assert failed.is_news("198.51.100.1", ALERT, known=True)
    now[0] += 60
    assert failed.is_news("203.0.113.99", ALERT, known=False), "what found no room is told the next time"


def test_what_is_remembered_is_bounded(failed, now, monkeypatch):
    monkeypatch.setattr("gatepost.mail.inbound.failed_handshakes._REMEMBERED", 2)
    for number in range(3):
        assert failed.is_news(f"203.0.113.{number}", ALERT, known=False)
    assert failed.is_news("203.0.113.0", ALERT, known=False), "the oldest is forgotten"
    assert not failed.is_news("203.0.113.2", ALERT, known=False)
