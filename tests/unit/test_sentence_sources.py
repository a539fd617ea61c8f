"""Sentences with values are found in the sources as they are written there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from sentence_modules import MODULES
from sentence_sources import sentences


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ('say(f"mail to {partner.domain} waits")', ["mail to %(domain)s waits"]),
        ('say(f"{100 * full:.0f} % of it is full")', ["%(full)s %% of it is full"]),
        ('say("nothing is known, not 1 %")', ["nothing is known, not 1 %"]),
        (
            "say(f\"mail {'is' if one else 'are'} held for {who}\")",
            ["mail is held for %(who)s", "mail are held for %(who)s"],
        ),
        ('def a():\n x = f" at {host}" if host else ""\n say(f"it failed{x}: {why}")',
         ["it failed at %(host)s: %(why)s", "it failed: %(why)s"]),
        ('X = "the owner of it"\nsay(f"{X} must act")', ["the owner of it must act"]),
        ('say(f"{quantity(n, \'day\')} are left")', ["%(own_days)s are left", ("%(num)s day", "%(num)s days")]),
        ('say(f"it waits, as {own(step.text)}")', ["it waits, as %(own_text)s"]),
        ('say(f"{a.name} overlaps {b.name}")', ["%(name)s overlaps %(name2)s"]),
        ('"""Documentation of it."""\nlog.info("it was done then")\nX = {"a key of it": 1}', []),
        ('say(f"gatepost check partner {domain}")', []),
        ('say(f"it ends {in_number(days, \'in %(num)s day\', \'in %(num)s days\')}")',
         ["it ends %(days)s", ("in %(num)s day", "in %(num)s days")]),
        ('say("the worker is {:.2g} s behind")', ["the worker is %(value)s s behind"]),
        ('lines = [comment("Once for all of them"), "$name = Get-Connector it all"]', []),
    ],
)  # fmt: skip
def test_a_sentence_is_found(tmp_path, source, texts):
    module = tmp_path / "module.py"
    module.write_text(source)
    assert list(sentences(module)) == texts


SAYS = re.compile(r"\bAlarm\(|raise (?:Refusal|VersionConflict|BusyRefusal|AccountError|ImportRefused)\(|FieldError\(")
# They translate what they say themselves, or are part of the settings file's own errors, which logs have.
MARKED = re.compile(r"manage/(cli|pages)/|manage/rest/|settings/|testing/|analysis/alarms/alarm.py")


def test_modules_that_refuse_or_raise_alarms_are_in_the_catalogue():
    source = Path(__file__).parents[2] / "src" / "gatepost"
    names = {str(path.relative_to(source)): path for path in source.rglob("*.py")}
    saying = {name for name, path in names.items() if SAYS.search(path.read_text()) and not MARKED.match(name)}
    assert len(saying) > 100
    assert saying - {*MODULES} == set()
    assert {*MODULES} - {*names} == set()
