from __future__ import annotations

import pytest

from gatepost.analysis.hybrid.exchange import Step
from gatepost.analysis.hybrid.here import Finding
from gatepost.analysis.hybrid.plan import Check, HybridPlan
from gatepost.manage.cli.hybrid import print_plan
from gatepost.values import replace

BARE = HybridPlan("contoso", "mx.gate.example", "ex1.contoso.example", (), (), (), (), ())
COMMAND = "gatepost connector add outbound " + "--recipient-domain long.example " * 9


def printed(capsys, **fields):
    print_plan(replace(BARE, **fields))
    return capsys.readouterr().out


def found(*, complete, text="a text", commands=()):
    return Finding("subject", complete, text, commands)


def test_it_says_who_is_meant_and_that_nothing_is_missing(capsys):
    text = printed(capsys)
    assert text.startswith("contoso: mx.gate.example (this gateway) and ex1.contoso.example (Exchange).")
    headings = ["This gateway", "Between the two", "Exchange (Exchange", "Tests", "Common mistakes"]
    places = [text.index(f"\n{one}") for one in headings]
    assert places == sorted(places)
    assert " ".join(text.split()).endswith(
        'This gateway is complete. The state of Exchange is not known here: see "Tests".'
    )


def test_what_is_missing_is_counted_and_marked(capsys):
    text = printed(
        capsys, here=(found(complete=True), found(complete=False), found(complete=False, text="no identity"))
    )
    assert "  ok      a text\n" in text
    assert "  MISSING no identity\n" in text
    assert text.splitlines()[-1] == "Missing on this gateway: 2."


def test_commands_are_never_folded_as_they_are_to_be_copied(capsys):
    step = Step("Make it", ("New-SendConnector -Name " + "x" * 200, "# and then"))
    text = printed(
        capsys,
        here=(found(complete=False, commands=(COMMAND,)),),
        exchange=(step, step),
        checks=(Check("gateway", COMMAND, "It is delivered."), Check("exchange", "Get-Queue", "It is empty.")),
    )
    lines = text.splitlines()
    assert lines.count(f"      {COMMAND}") == 2
    assert f"      {step.lines[0]}" in lines
    assert ("  1. Make it" in lines, "  2. Make it" in lines) == (True, True)
    assert "  here    It is delivered." in lines
    assert "  there   It is empty." in lines


def test_what_is_for_reading_is_folded_and_hangs_below_its_mark(capsys):
    long = "word " * 60
    name = "a" * 150 + ".example"
    text = printed(capsys, firewall=(long,), traps=(f"{long}{name}",), here=(found(complete=True, text=long),))
    reading = [line for line in text.splitlines() if line.strip()]
    assert [len(line) for line in reading if len(line) > 100] == [5 + len(name)], "a name is not broken"
    assert "\n     word" in text
    assert "\n          word" in text


@pytest.mark.parametrize("field", ["organization", "hostname", "exchange_host"])
def test_nothing_speaks_to_the_terminal(capsys, field):
    hostile = "x\x1b[2J\x07\u202ey"
    text = printed(
        capsys,
        **{field: hostile},
        here=(found(complete=False, text=hostile, commands=(hostile,)),),
        firewall=(hostile,),
        exchange=(Step(hostile, (hostile,)),),
        checks=(Check("gateway", hostile, hostile),),
        traps=(hostile,),
    )
    assert all(one.isprintable() for one in text.replace("\n", ""))
    assert text.count("x?[2J??y") == 9
