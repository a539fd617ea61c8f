from __future__ import annotations

from gatepost.manage.use_cases.explain_text import detail_lines, tls_lines


def test_a_handshake_is_told_line_by_line():
    tls = {
        "version": "TLSv1.3",
        "resumed": False,
        "server_name": "",
        "certificate": {"subject": "CN=x", "names": ["a", "b"], "not_after": 1_795_528_800.0, "key": "", "uris": []},
        "chains": {"own.pem": {"status": "trusted", "detail": ""}},
    }
    assert list(tls_lines(tls)) == [
        ("tls", "version: TLSv1.3"),
        ("tls", "resumed: no"),
        ("certificate", "subject: CN=x"),
        ("certificate", "names: a, b"),
        ("certificate", "not_after: 2026-11-24 14:00:00Z"),
        ("tls", "by own.pem: trusted"),
    ]


def test_a_decision_is_told_line_by_line():
    detail = {
        "reasons": ["one", "two"],
        "passed_over": [{"connector": "b", "why": "is disabled"}],
        "dane": {"status": "insecure", "detail": None, "used": True},
        "next_attempt": 0.0,
        "attempt": 1,
    }
    assert list(detail_lines(detail)) == [
        ("why", "one"),
        ("why", "two"),
        ("passed over", "b is disabled"),
        ("dane", "status: insecure; used: yes"),
        ("next attempt", ""),
        ("attempt", "1"),
    ]
