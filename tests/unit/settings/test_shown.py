"""Settings are shown as a settings file writes them, and what is shown means the same when it is read."""

from __future__ import annotations

from gatepost.settings.loader import load_with_origins
from gatepost.settings.shown import shown

TEXT = """\
[server]
hostname = "mx.gate.example"
drain = "45s"

[[listener]]
role = "mx"
address = "127.0.0.1:25"
[[listener]]
role = "mx"
address = "127.0.0.1:26"

[[site.node]]
name = "mx2"
address = "192.0.2.2:2525"

[acme]
agree_tos = false
"""


def found(tmp_path, environment=None, name="gatepost.toml", text=TEXT):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return list(shown(*load_with_origins(str(file), environment or {"GATEPOST_DNS__TIMEOUT": "2.5"})))


def test_each_key_has_its_value_and_its_origin(tmp_path):
    settings = {one.key: one for one in found(tmp_path)}
    file = tmp_path / "gatepost.toml"
    assert (settings["server.drain"].value, settings["server.drain"].origin) == ("45s", f"{file}:3")
    assert (settings["dns.timeout"].value, settings["dns.timeout"].origin) == ("2.5s", "GATEPOST_DNS__TIMEOUT")
    assert (settings["listener[1].address"].value, settings["listener[1].address"].origin) == (
        "127.0.0.1:26",
        f"{file}:10",
    )
    assert (settings["site.node[0].name"].heading, settings["site.node[0].name"].value) == ("[[site.node]]", "mx2")
    assert settings["server.workers"].is_default
    assert not settings["acme.agree_tos"].is_default, "it is written, though it says what the default says"
    assert settings["store.free_space"].value == "128MB"


def test_a_file_of_json_has_no_lines(tmp_path):
    text = '{"server": {"hostname": "mx.gate.example"}, "certificate": []}'
    settings = {one.key: one for one in found(tmp_path, {}, "gatepost.json", text)}
    assert settings["server.hostname"].origin == str(tmp_path / "gatepost.json")
