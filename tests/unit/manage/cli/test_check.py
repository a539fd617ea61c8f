"""Options and their errors; what the checks find is `tests/system/test_check.py`'s."""

from __future__ import annotations

import socket

import pytest
from click.testing import CliRunner

from gatepost.manage.cli import check as command
from gatepost.manage.cli import main
from gatepost.manage.cli.check import system_nameservers
from gatepost.manage.cli.options import use_settings_file


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 192.0.2.1\n", ("192.0.2.1",)),
        ("# nameserver 192.0.2.9\nsearch b.example\nnameserver\t::1\noptions edns0\n", ("::1",)),
        ("nameserver fe80::1%eth0\nnameserver ns.example\nnameserver\nnameserver 192.0.2.1 # x\n", ("192.0.2.1",)),
        ("".join(f"nameserver 192.0.2.{number}\n" for number in range(9)), ("192.0.2.0", "192.0.2.1", "192.0.2.2")),
        ("", ()),
        ("\x00\xff" * 100, ()),
    ],
)
def test_nameservers_of_the_system(tmp_path, text, found):
    file = tmp_path / "resolv.conf"
    file.write_bytes(text.encode("latin-1"))
    assert system_nameservers(file) == found


def test_a_system_without_nameservers(tmp_path):
    assert system_nameservers(tmp_path / "none") == ()
    assert system_nameservers(tmp_path) == ()


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("mx1.contoso.example", "mx1.contoso.example"),
        ("MX1.contoso.example", "mx1.contoso.example"),
        ("box", "box.localdomain"),
        ("no_name!", "localhost.localdomain"),
        ("", "localhost.localdomain"),
    ],
)
def test_what_ehlo_says_without_settings(monkeypatch, name, own):
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert command._own_name() == own


WRONG = [
    (["partner"], "Missing argument"),
    (["partner", "b..example"], "is not a domain"),
    (["partner", "*.b.example"], "wildcard"),
    (["partner", "ann@[192.0.2.1]"], "address literal"),
    (["host", ""], "enter a host"),
    (["host", "b.example:70000"], "port must be a number"),
    (["host", "[::1"], "brackets"),
    (["host", "b.example", "--timeout", "301"], "--timeout"),
    (["host", "b.example", "--timeout", "nan"], "--timeout"),
    (["host", "b.example", "--nameserver", "192.0.2.1:x"], "--nameserver: "),
    (["host", "b.example", "--validate", "remote"], "--validate"),
    (["host", "b.example", "--config", "none.toml"], "none.toml: cannot be read"),
]


@pytest.mark.parametrize(("words", "text"), WRONG, ids=lambda value: " ".join(value)[:40])
def test_wrong_use(tmp_path, monkeypatch, words, text):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["check", *words])
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert result.stdout == ""


def test_settings_that_are_there_are_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gatepost.toml").write_text(
        '[server]\nhostname = "mx1.contoso.example"\n[dns]\nnameservers = ["bad"]\n'
    )
    result = CliRunner().invoke(main, ["check", "host", "b.example"])
    assert result.exit_code == 2
    assert "gatepost.toml:4: dns.nameservers" in result.stderr


def test_options_go_over_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own.toml"
    file.write_text('[server]\nhostname = "mx1.contoso.example"\n[tls]\nrevocation_timeout = "2s"\n')
    with main.make_context("gatepost", ["check"], resilient_parsing=True):
        asked = {"nameservers": ("127.0.0.1:5300",), "anchors": str(tmp_path), "validate": "local"}
        plain = command._settings(dict.fromkeys(asked), 60.0)
        use_settings_file(str(file))
        found = command._settings(asked, 4.0)
    assert found.dns.nameservers == ("127.0.0.1:5300",)
    assert found.tls.trust_anchors == str(tmp_path)
    assert (found.dns.timeout, found.tls.revocation_timeout) == (4.0, 2.0)
    assert found.outbound.greeting_timeout == found.outbound.handshake_timeout == 4.0
    assert found.server.hostname == "mx1.contoso.example"
    assert plain.tls.trust_anchors == "system"
    assert plain.dns.timeout == 5.0
    assert (found.dns.validation, plain.dns.validation) == ("local", "nameserver")


@pytest.mark.parametrize(("validate", "named"), [(None, True), ("nameserver", True), ("local", False)])
def test_who_validates_alone_starts_at_the_root(tmp_path, monkeypatch, validate, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "system_nameservers", lambda: ("192.0.2.53",))
    with main.make_context("gatepost", ["check"], resilient_parsing=True):
        found = command._settings({"nameservers": (), "anchors": None, "validate": validate}, 5.0)
    assert ("192.0.2.53:53" in found.dns.nameservers) is named
    assert ("nameservers" in found.dns.written) is named
