"""`gatepost settings show` prints what can be read again, and where it comes from."""

from __future__ import annotations

import os

import pytest
import tomlkit

from gatepost.settings.loader import load

SECTIONS = {
    "listener": [{"role": "mx", "address": "127.0.0.1:2525"}, {"role": "mx", "address": "127.0.0.2:2525"}],
    "dns": {"nameservers": ["127.0.0.1:53"], "timeout": "2s"},
}


@pytest.mark.parametrize("words", [(), ("--all",), ("--origin",)])
def test_what_is_shown_means_the_same(home, words):
    home.settings(**SECTIONS)
    before = load(str(home.file), os.environ)
    text = home.call("settings", "show", *words).stdout
    home.file.write_text(text, encoding="utf-8")
    assert load(str(home.file), os.environ) == before


def test_only_what_is_written_is_shown_with_its_place(home, monkeypatch):
    monkeypatch.delenv("GATEPOST_SERVER__USER", raising=False)
    home.settings(dns={"timeout": "2s"})
    text = home.call("settings", "show", "--origin").stdout
    assert text == (
        f'[server]\nhostname = "mx.gate.example"  # {home.file}:2\n'
        f'data_dir = "{home.data}"  # {home.file}:3\n\n[dns]\ntimeout = "2s"  # {home.file}:6\n'
    )
    assert tomlkit.parse(text)["dns"] == {"timeout": "2s"}
    assert {"key": "dns.timeout", "value": "2s", "origin": f"{home.file}:6"} in home.json("settings", "show")


def test_what_is_wrong_is_said(home):
    home.settings(dns={"timeout": "x"})
    assert "dns.timeout" in home.call("settings", "show", code=2).stderr
