from __future__ import annotations

import io
import stat
import sys
import time

import pytest

from gatepost.manage.cli.setup_notice import (
    SETUP_FILE,
    admin_url,
    forget_setup,
    known_setup,
    setup_url,
    show_setup,
    tell_of_setup_elsewhere,
)
from gatepost.settings.loader import load

ADDRESS = "https://127.0.0.1:8443/setup?code=secret"
UNTIL = 1_795_528_800.0  # 2026-11-24T14:00:00Z


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_terminal_shows_it_and_nothing_keeps_it(tmp_path, monkeypatch, caplog, stream):
    caplog.set_level("INFO")
    terminal = Terminal()
    monkeypatch.setattr(sys, stream, terminal)
    show_setup(tmp_path, ADDRESS, until=time.time() + 1800)
    assert terminal.getvalue() == f"admin centre: create the owner account at {ADDRESS} (valid once, 30 minutes)\n"
    assert (list(tmp_path.iterdir()), caplog.messages) == ([], [])


def test_without_a_terminal_it_is_in_a_file_for_its_owner(tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    file = tmp_path / SETUP_FILE
    file.symlink_to(tmp_path / "elsewhere")
    show_setup(tmp_path, ADDRESS, until=UNTIL)
    assert stat.S_IMODE(file.lstat().st_mode) == 0o600
    assert file.read_text().splitlines()[0] == ADDRESS
    assert "until 2026-11-24 14:00:00Z" in file.read_text()
    assert not (tmp_path / "elsewhere").exists()
    assert str(file) in caplog.text
    assert "secret" not in caplog.text + "".join(capsys.readouterr())
    assert known_setup(tmp_path) == "secret"
    forget_setup(tmp_path)
    forget_setup(tmp_path)
    assert known_setup(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_made_costs_nothing_else(tmp_path, caplog):
    show_setup(tmp_path / "none", ADDRESS, until=UNTIL)
    assert "gatepost user setup" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("left", "text", "is_replaced"), [(1500, "within 25 minutes", True), (5, "within 1 minute", False)]
)
def test_it_says_how_long_and_whether_another_one_ended(tmp_path, caplog, left, text, is_replaced):
    caplog.set_level("INFO")
    show_setup(tmp_path, ADDRESS, until=time.time() + left, replaced=is_replaced)
    assert text in caplog.text
    assert ("shown before is no longer valid" in caplog.text) is is_replaced


def test_another_node_showed_it(tmp_path, caplog):
    (tmp_path / SETUP_FILE).write_text(f"{ADDRESS}\n")
    tell_of_setup_elsewhere(tmp_path, time.time() + 1500)
    assert "another node showed the set-up address, which is valid for 25 minutes more" in caplog.text
    assert "gatepost user setup" in caplog.text
    assert "secret" not in caplog.text
    assert list(tmp_path.iterdir()) == [], "an address that is not valid any more"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"https://127.0.0.1:8443/login\n"])
def test_a_file_with_something_else_has_no_code(tmp_path, content):
    (tmp_path / SETUP_FILE).write_bytes(content)
    assert known_setup(tmp_path) == ""
    (tmp_path / SETUP_FILE).unlink()
    (tmp_path / "there").write_text(f"{ADDRESS}\n")
    (tmp_path / SETUP_FILE).symlink_to(tmp_path / "there")
    assert known_setup(tmp_path) == ""


@pytest.mark.parametrize(
    ("address", "local", "elsewhere"),
    [
        ("127.0.0.1:8443", "https://127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("0.0.0.0:443", "https://127.0.0.1:443", "https://mx.gate.example:443"),
        ("[::]:443", "https://127.0.0.1:443", "https://mx.gate.example:443"),
        ("[2001:db8::1]:443", "https://[2001:db8::1]:443", "https://[2001:db8::1]:443"),
        ("admin.gate.example:443", "https://admin.gate.example:443", "https://admin.gate.example:443"),
    ],
)
def test_where_it_is(home, address, local, elsewhere):
    settings = load(
        str(home.settings(server={"hostname": "mx.gate.example", "data_dir": "data"}, admin={"address": address})), {}
    )
    assert admin_url(settings, local=True) == local
    assert admin_url(settings, local=False) == elsewhere
    assert setup_url(settings, "abc", 9) == f"{local.rpartition(':')[0]}:9/setup?code=abc"
