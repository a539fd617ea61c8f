from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from gatepost.manage.cli import demo as command
from gatepost.manage.cli import demo_partner
from gatepost.manage.cli.demo_partner import choose_partner


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mask():
    os.umask(now := os.umask(0o022))
    return now


@pytest.mark.parametrize("own", [0o000, 0o077])
def test_what_does_not_start_is_told_in_its_words_and_files_are_made_as_by_most_accounts(monkeypatch, umask, own):
    masks = []

    def start(stack, home):
        stack.callback(lambda: masks.append(mask()))
        raise RuntimeError(f"no greeting\nthe end of {home.name}/log:\nno room")

    monkeypatch.setattr(command, "_one_gateway", start)
    umask(own)
    result = CliRunner().invoke(command.demo)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("no greeting\nthe end of gatepost-demo-")
    assert result.stderr.endswith("/log:\nno room\n")
    assert masks == [0o022]
    assert mask() == own


def test_commands_to_try_are_words_of_a_shell(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(signal, "sigwait", lambda _: None)
    settings = tmp_path / "my gateway's" / "gatepost.toml"
    command._stay(SimpleNamespace(settings_file=settings), ["trace search"])
    line = capsys.readouterr().out.splitlines()[1]
    assert shlex.split(line) == ["gatepost", "--config", str(settings), "trace", "search"]


@pytest.mark.parametrize(("name", "kind"), [("partner", "Postfix"), ("my partner", "gatepost (Postfix is not ")])
def test_postfix_has_a_folder_without_spaces(monkeypatch, tmp_path, name, kind):
    monkeypatch.setattr(demo_partner.shutil, "which", lambda _: "/usr/sbin/postfix")
    monkeypatch.setattr(demo_partner.os, "geteuid", lambda: 0)
    monkeypatch.setattr(demo_partner.os, "chown", lambda *_: None)
    monkeypatch.setattr(demo_partner.shutil, "chown", lambda *_: None)
    monkeypatch.setattr(demo_partner, "as_whom", dict)
    monkeypatch.chdir(tmp_path)
    partner = choose_partner(Path(name), Path("chain.pem"), Path("key.pem"), (1, 2), ["a.example"])
    assert partner.kind.startswith(kind)
