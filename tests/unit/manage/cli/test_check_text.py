from __future__ import annotations

import io
import sys

import pytest

from gatepost.analysis.checks.partner_report import Finding, Mark, PartnerCheck, PolicyKind, Row, Stage, missed
from gatepost.manage.cli.check_text import print_check
from gatepost.policy.decisions.facts import HopFacts
from gatepost.protocols.tls.facts import TlsFacts
from gatepost.values import replace

TLS = TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519MLKEM768", "", resumed=False, server_name="")
PASSED = tuple(Finding(stage, Mark.PASS, "fine", "seen it", short="ok") for stage in list(Stage)[:-1])
WARNED = Finding(
    Stage.CERTIFICATE, Mark.WARN, "it ends in 9 days", "not after 2026-12-03", "They must renew it.", "9 d"
)
STOPPED = Finding(Stage.CONNECT, Mark.FAIL, "nothing listens", "refused", "They must start it.", "refused", stops=True)
DARK = Finding(Stage.CONNECT, Mark.UNKNOWN, "no answer", "", "Here: look.", "no answer", stops=True)


def row(preference, host, *findings, tls=TLS, policy=PolicyKind.DANE, address="192.0.2.1:25"):
    return Row(host, preference, address, policy, findings, HopFacts(host, address, tls=tls))


def check(*rows, findings=()):
    return PartnerCheck("b.example", "partner", 0.0, 0.84, findings, rows)


def printed(capsys, found, *, verbose=False):
    print_check(found, verbose=verbose)
    return capsys.readouterr().out.splitlines()


UNUSABLE = Finding(Stage.DANE, Mark.WARN, "none can be used", short="unusable")
ANSWERS = [
    (check(row(10, "mx", *PASSED)), "YES, verified by DANE, TLSv1.3"),
    (check(row(10, "mx", *PASSED, policy=PolicyKind.MTA_STS)), "YES, verified by MTA-STS, TLSv1.3"),
    (check(row(10, "mx", policy=PolicyKind.OPPORTUNISTIC)), "YES, encrypted, but an attacker on the way could prevent"),
    (
        check(row(10, "mx", UNUSABLE)),
        "YES, encrypted, as the TLSA records require, though none of them names a key, TLSv1.3",
    ),
    (check(row(10, "mx", tls=None)), "NO, it would be sent unencrypted"),
    (check(row(10, "mx", STOPPED)), "NO, it would wait and then be returned: nothing listens"),
    (check(row(10, "mx", DARK)), "INCONCLUSIVE: no answer"),
    (check(findings=(STOPPED,)), "NO, it would wait and then be returned: nothing listens"),
    (check(), "NO, it would wait and then be returned"),
]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), "-> Here: give it more time."),
        (("timeout",), "-> Here: give it more time (--timeout)."),
        (("nameserver", "validate"), "-> Here: give it more time (--nameserver or --validate)."),
    ],
)
def test_the_command_adds_the_options_that_help(capsys, options, shown):
    silent = Finding(Stage.EHLO, Mark.UNKNOWN, "says nothing", "", "Here: give it more time.", options=options)
    assert shown in "\n".join(printed(capsys, check(row(10, "mx", silent))))


@pytest.mark.parametrize(("found", "answer"), ANSWERS)
def test_the_first_line_answers(capsys, found, answer):
    first, *_, last = printed(capsys, found)
    assert first.startswith(f"b.example: would mail be delivered safely?  {answer}")
    assert last == found.last_line


def test_the_matrix_and_what_is_said_below_it(capsys):
    lost = missed(Stage.TLS, Stage.CONNECT, "no connection")
    found = check(
        row(10, "mx1.b.example", *PASSED, WARNED),
        row(20, "mx2.b.example", STOPPED, lost),
        findings=(Finding(Stage.TLS_RPT, Mark.INFO, "none asked for", "", "They can ask.", "none"),),
    )
    lines = printed(capsys, found)
    assert lines[2].split() == [
        "DNS",
        "connect",
        "EHLO",
        "TLS",
        "certificate",
        "DANE",
        "MTA-STS",
        "revocation",
        "REQUIRETLS",
    ]
    assert lines[3].startswith("10 mx1.b.example  ✓ ok  ✓ ok")
    assert "! 9 d" in lines[3]
    assert lines[4].startswith("20 mx2.b.example")
    assert "✗ refused" in lines[4]
    text = "\n".join(lines)
    assert "  · TLS-RPT     none\n" in text
    assert "They can ask" not in text
    assert "no connection" not in text
    assert "  ! certificate it ends in 9 days\n                seen: not after 2026-12-03\n" in text
    assert "                -> They must start it.\n" in text
    assert "12 findings: 1 failed, 1 with a warning; 0.8 s\n" in text
    loud = "\n".join(printed(capsys, found, verbose=True))
    assert "  · TLS-RPT     none asked for\n                -> They can ask.\n" in loud
    assert "  ✓ EHLO        fine\n" in loud
    assert "no connection" not in loud


def test_addresses_of_one_host_share_what_holds_for_all(capsys):
    found = check(
        row(None, "mx", *PASSED, WARNED, address="192.0.2.1:25"),
        row(None, "mx", *PASSED, WARNED, address="[2001:db8::1]:25"),
    )
    text = "\n".join(printed(capsys, found))
    assert "\nmx 192.0.2.1:25" in text
    assert "\n  [2001:db8::1]:25" in text
    assert "mx (192.0.2.1:25, [2001:db8::1]:25)\n" in text
    assert text.count("it ends in 9 days") == 1


def test_what_others_wrote_does_no_harm(capsys):
    bad = Finding(Stage.EHLO, Mark.FAIL, "\x1b[2Jtext", "\u202e\x07evidence", "", "\x1b[31mshort")
    text = "\n".join(printed(capsys, check(row(10, "m\x1bx", bad), findings=(bad,))))
    assert all(character.isprintable() or character == "\n" for character in text)


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.mark.parametrize(("columns", "encoding"), [(200, "utf-8"), (80, "utf-8"), (80, "ascii")])
def test_a_terminal_gets_what_fits(monkeypatch, columns, encoding):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Terminal(raw, encoding=encoding))
    long = Finding(Stage.TLS, Mark.PASS, "word " * 60, short="1.3 X25519MLKEM768")
    print_check(check(row(10, "mx1.b.example", *PASSED, long, WARNED)), verbose=True)
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert ("✓" in text) is (encoding == "utf-8")
    matrix = next(line for line in text.splitlines() if line.startswith("10 mx1"))
    assert ("9 d" in matrix) is (columns == 200)
    assert max(len(line) for line in text.splitlines()[:-1]) <= columns


def test_colour_is_for_terminals_only(monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_check(check(row(10, "mx", STOPPED)), verbose=False)
    assert "\x1b" not in capsys.readouterr().out


def test_what_was_said_is_printed_if_asked(capsys):
    found = check(replace(row(10, "mx", *PASSED), transcript=("< 220 mx\x1b[2J", "> EHLO")))
    lines = printed(capsys, found, verbose=True)
    assert lines[lines.index("    SMTP dialogue:") :][1:3] == ["      < 220 mx?[2J", "      > EHLO"]
    assert "    SMTP dialogue:" not in printed(capsys, found)
