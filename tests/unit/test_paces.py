"""scripts/paces.py: the constants and lines that it changes are there, each once."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

import paces
from paces import ROOT


@pytest.fixture
def copy(tmp_path):
    for module in {*paces.PACES, *paces.DELAYS}:
        target = tmp_path / "src" / "gatepost" / module
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "src" / "gatepost" / module, target)
    return tmp_path


@pytest.mark.parametrize("pace", ["late", "quick", "slow"])
def test_each_pace_changes_what_it_names_and_stays_python(copy, pace):
    paces.change(copy, pace)
    changed = paces.DELAYS if pace == "slow" else paces.PACES
    for module in changed:
        source = (copy / "src" / "gatepost" / module).read_text()
        assert source != (ROOT / "src" / "gatepost" / module).read_text()
        compile(source, module, "exec")


def test_what_is_not_there_is_told(copy):
    (copy / "src" / "gatepost" / "store" / "buffer.py").write_text("")
    with pytest.raises(SystemExit, match=r"buffer\.py has not what is to be changed"):
        paces.change(copy, "late")


@pytest.mark.parametrize("words", [[], ["fast"]])
def test_a_pace_has_to_be_named(words, capsys):
    assert paces.main(words) == 2
    assert "write late, quick or slow" in capsys.readouterr().err
