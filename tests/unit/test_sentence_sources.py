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
        ('_log.error("it failed for them")\nyield draft.error("key", "it is given twice")', ["it is given twice"]),
        ('say(f"{name!r} is short: write {name}.example")', ["%(name)s is short: write %(name2)s.example"]),
        ('lines = [comment("Once for all of them"), "$name = Get-Connector it all"]', []),
    ],
)  # fmt: skip
def test_a_sentence_is_found(tmp_path, source, texts):
    module = tmp_path / "module.py"
    module.write_text(source)
    assert list(sentences(module)) == texts


SAYS = re.compile(
    r"\bAlarm\(|raise (?:Refusal|VersionConflict|BusyRefusal|AccountError|ImportRefused)\(|FieldError\("
    r"|\b(?:refusing|wrong_field)\("
)
WRONG_FIELD = re.compile(r"raise ValueError\(|draft\.error\(|SettingsProblem\(|\.wrong\(")
FIELDS = re.compile(r"settings/|policy/connectors/")
"""Rooms that read what an administrator wrote: whatever they find wrong is shown to him."""
# They translate what they say themselves.
MARKED = re.compile(r"manage/(cli|pages)/|manage/rest/|testing/|analysis/alarms/alarm.py")
# They form no sentence; or what they raise is a fault of the program.
SILENT = {"manage/use_cases/refusal.py", "settings/problem.py", "settings/section.py"}


def test_modules_that_refuse_or_raise_alarms_are_in_the_catalogue():
    source = Path(__file__).parents[2] / "src" / "gatepost"
    texts = {str(path.relative_to(source)): path.read_text() for path in source.rglob("*.py")}
    saying = {
        name
        for name, text in texts.items()
        if (SAYS.search(text) or (FIELDS.match(name) and WRONG_FIELD.search(text))) and not MARKED.match(name)
    }
    assert len(saying) > 100
    assert {"settings/loader.py", "settings/model.py", "policy/connectors/names.py"} <= saying
    assert saying - {*MODULES} - SILENT == set()
    assert {*MODULES} - {*texts} == set()


def test_a_template_has_words_by_which_it_is_known():
    """Or a value of ours; else it would translate what others say, too."""
    source = Path(__file__).parents[2] / "src" / "gatepost"
    texts = {text for module in MODULES for text in sentences(source / module) if isinstance(text, str)}
    assert {
        text for text in texts if "%(own_" not in text and len(re.findall("[a-zA-Z]", VALUE.sub("", text))) < 3
    } == set()


VALUE = re.compile(r"%\(\w+\)s")
