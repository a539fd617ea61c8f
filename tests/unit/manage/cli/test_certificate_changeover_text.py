from __future__ import annotations

import io
import sys

import pytest

from gatepost.analysis.checks.changeover import Traffic
from gatepost.analysis.checks.gates import MAX_TEXT, GateCheck, GateFinding, GateReport
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.cli.certificate_changeover_text import print_gates, print_partners, print_status
from gatepost.manage.use_cases.certificates import certificate_of, gates_of_report
from gatepost.manage.use_cases.changeover import ChangeoverCheck, NoticePartner, changeover_of
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.values import replace

NOW = 1_795_521_600.0  # 2026-11-24T12:00:00Z
HOSTILE = "x\x1b[2J\x07\t\u202e<b>"


def finding(verdict, text="a text", gate=GateCheck.CHAIN, **more):
    return GateFinding(gate, verdict, text, **more)


def status(capsys, one, *others, findings=None, traffic=None):
    """The lines about a certificate; the table first, then an empty one."""
    known = {each.id: each for each in (one, *others)}
    report = GateReport(one, NOW, tuple(findings)) if findings is not None else None
    print_status(changeover_of(ChangeoverCheck(one, known, report, traffic, (), NOW)))
    return capsys.readouterr().out.splitlines()


def table(lines):
    return {name: cells for name, *cells in (line.split("\t") for line in lines[: lines.index("")])}


def gates(capsys, entry, *findings):
    print_gates(gates_of_report(GateReport(entry, NOW, findings)), certificate_of(entry))
    return capsys.readouterr().out.splitlines()


ANSWERS = [
    (State.NEXT, (), "can it become current?  YES"),
    (State.NEXT, (finding(Mark.WARN),), "can it become current?  YES"),
    (State.NEXT, (finding(Mark.FAIL, "lost"),), "can it become current?  NO: chain: lost"),
    (State.NEXT, (finding(Mark.UNKNOWN, "dark"),), "can it become current?  INCONCLUSIVE: chain: dark"),
    (State.NEXT, (finding(Mark.UNKNOWN, "dark"), finding(Mark.FAIL, "lost")), "NO: chain: lost; chain: dark"),
    (State.CURRENT, (finding(Mark.PASS),), "is it in order?  YES"),
]


@pytest.mark.parametrize(("state", "findings", "answer"), ANSWERS)
def test_the_first_line_answers(capsys, entry, state, findings, answer):
    one = entry("a", state=state)
    first = gates(capsys, one, *findings)[0]
    assert first.startswith(f"{one.id} (mx.a.example): ")
    assert first.endswith(answer)


def test_the_end_counts_what_was_found_and_says_until_when_to_wait(capsys, entry):
    found = [finding(mark) for mark in (Mark.FAIL, Mark.WARN, Mark.WARN, Mark.UNKNOWN, Mark.INFO)]
    assert gates(capsys, entry("a"), *found)[-1] == "1 failure, 2 warnings, 1 unknown"
    waits = finding(Mark.FAIL, until=NOW + 60)
    assert gates(capsys, entry("a"), waits)[-2:] == [
        "1 failure, 0 warnings, 0 unknown",
        "Nothing is left but to wait until 2026-11-24 12:01:00Z",
    ]
    assert gates(capsys, entry("a"))[-1] == "0 failures, 0 warnings, 0 unknown"


def test_every_finding_is_printed_with_its_evidence_and_its_fix(capsys, entry):
    lines = gates(
        capsys, entry("a"), finding(Mark.FAIL, "is not", evidence="seen this", fix="Do that."), finding(Mark.PASS)
    )
    place = next(number for number, line in enumerate(lines) if line.startswith("  ✗ chain"))
    assert [line.strip() for line in lines[place + 1 : place + 3]] == ["seen: seen this", "-> Do that."]
    assert any(line.startswith("  ✓ chain") for line in lines)


def test_what_is_too_long_is_cut_as_it_is_in_json(capsys, entry):
    text = "\n".join(gates(capsys, entry("a"), finding(Mark.FAIL, "y" * 5000, evidence="z" * 5000)))
    assert text.count("z") == MAX_TEXT
    assert text.count("y") <= 2 * MAX_TEXT + 10, "in the answer, and as a finding"


def test_before_a_switch_the_old_one_stands_first(capsys, entry):
    old = entry("old", state=State.CURRENT, current_from=NOW - 60)
    new = entry("new", switch_at=NOW + 60)
    shown = table(status(capsys, new, old))
    assert shown[""] == ["current", "next"]
    assert shown["id"] == [old.id, new.id]
    assert shown["presented from"] == ["2026-11-24 11:59:00Z", ""]
    assert shown["planned for"] == ["", "2026-11-24 12:01:00Z"]
    assert "must staple" not in shown, "a line that nobody has something in is left out"


def test_after_a_switch_the_new_one_stands_first(capsys, entry):
    old = entry("old", state=State.DEPRECATED, must_staple=True)
    new = entry("new", state=State.CURRENT, replaces=(old.id, "0123456789abcdef"), current_from=NOW - 60)
    shown = table(status(capsys, new, old))
    assert (shown[""], shown["id"]) == (["current", "deprecated"], [new.id, old.id]), "what is forgotten is left out"
    assert shown["must staple"] == ["", "yes"]


def test_one_that_takes_nobodys_place_stands_alone(capsys, entry):
    lines = status(capsys, entry("new"))
    assert table(lines)[""] == ["next"]
    assert "next: gatepost certificate changeover switch " in "\n".join(lines)


def test_a_client_identity_without_a_name(capsys, entry):
    one = entry("id", purpose=Purpose.CLIENT, label="to-bank", organization="contoso")
    one = replace(one, leaf=replace(one.leaf, dns_names=(), common_name=""))
    assert "names" not in table(status(capsys, one))
    assert gates(capsys, one)[0].startswith(f"{one.id} (CN=mx.a.example)")


def test_a_gate_says_what_is_wrong_or_that_all_is_well(capsys, entry):
    found = [
        finding(Mark.PASS, "first", GateCheck.KEY),
        finding(Mark.PASS, "second", GateCheck.KEY),
        finding(Mark.INFO, "by the way", GateCheck.KEY),
        finding(Mark.PASS, "fine", GateCheck.TLSA),
        finding(Mark.FAIL, "missing", GateCheck.TLSA),
        finding(Mark.WARN, "late", GateCheck.TLSA),
        finding(Mark.INFO, "no responder", GateCheck.STAPLING),
    ]
    lines = [line.split(maxsplit=2) for line in status(capsys, entry("new"), findings=found) if line.startswith("  ")]
    assert [line for line in lines if len(line) == 3] == [
        ["✓", "key", "first (and 1 more)"],
        ["✗", "tlsa", "missing"],
        ["!", "tlsa", "late"],
        ["·", "stapling", "no responder"],
    ]


def test_who_was_heard_of_before_and_not_since(capsys, entry):
    new = entry("new", state=State.CURRENT)
    since = Traffic(10**9, 0, 0, {"a.example"})
    before = Traffic(2, 3, 4, {"a.example"} | {f"p{number:02}.example" for number in range(30)})
    lines = status(capsys, new, traffic=(since, before))
    assert "  since the switch    1,000,000,000 messages over TLS from 1 domain, 0 unencrypted" in lines
    assert (
        "  same period before  2 messages over TLS from 31 domains, 3 unencrypted, 4 refused because TLS was missing"
        in lines
    )
    recent = status(capsys, new, traffic=(Traffic(1, seconds=5.0), Traffic(700, seconds=3600.0)))
    assert "  the hour before     700 messages over TLS from 0 domains, 0 unencrypted" in recent
    silent = " ".join(lines).partition("silent since")[2]
    assert ("p00.example" in silent, "p19.example" in silent, "p20.example" in silent) == (True, True, False)
    assert "silent since" not in "\n".join(status(capsys, new, traffic=(since, Traffic())))


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-8"])
def test_any_terminal_can_show_it(monkeypatch, entry, encoding):
    raw = io.BytesIO()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        one = entry("new")
        report = GateReport(one, NOW, (finding(Mark.PASS),))
        print_status(changeover_of(ChangeoverCheck(one, {one.id: one}, report, None, (), NOW)))
        print_gates(gates_of_report(report), certificate_of(one))
        sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert f"SHA-256\t{one.leaf.sha256[:32]}{'…' if encoding == 'utf-8' else '...'}\n" in text


def test_partners_are_told_beside_the_text_for_them(capsys):
    known = NoticePartner("bank.example", ["connector 'a'", "3 messages"], told=False)
    print_partners([known, NoticePartner("b.example", ["x"], told=True)])
    out, err = capsys.readouterr()
    assert out == "", "standard output has the text alone"
    assert err.splitlines() == [
        "NOT YET NOTIFIED  bank.example  (connector 'a'; 3 messages)",
        "notified          b.example  (x)",
    ]
    print_partners([])
    assert "no partner is known" in capsys.readouterr().err


def test_names_of_strangers_do_nothing_to_a_terminal(capsys, entry):
    one = entry("new", HOSTILE, held=HOSTILE)
    one = replace(one, leaf=replace(one.leaf, issuer=HOSTILE, serial=HOSTILE, key=HOSTILE))
    bad = finding(Mark.FAIL, HOSTILE, evidence=f"seen {HOSTILE}", fix=HOSTILE)
    lines = status(capsys, one, findings=[bad], traffic=(Traffic(), Traffic(domains={HOSTILE})))
    lines += gates(capsys, one, bad)
    print_partners([NoticePartner(HOSTILE, [HOSTILE], told=False)])
    lines += capsys.readouterr().err.splitlines()
    assert all(char.isprintable() or char == "\t" for line in lines for char in line)
    assert max(line.count("\t") for line in lines) == 1
    assert sum(line.count("x?[2J???<b>") for line in lines) > 9
