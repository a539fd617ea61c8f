"""What is wrong with a settings file is said in the language of the terminal; its places and `--json` are not."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from gatepost.manage.cli import main

LANGUAGES = {"sv": "sv_SE.UTF-8", "de": "de_DE.UTF-8"}
# Words that hold English sentences together, and that are no words of the other languages.
ENGLISH = re.compile(r"\b(the|is|are|which|and|with|not|that|this|from|of|cannot|there|been|must|would|or|to|it)\b")
SAID_BY_OTHERS = re.compile(r"No such file or directory|Expecting value|known here: .*|\S*/test_\S+")
WRONG = """
[server]
hostname = "mx1"
workers = 999
data_dir = 5
drain = "x"
node = "a b"
own_addresses = ["192.0.2.1:25"]
nonsense = 1
[[listener]]
role = "mxx"
address = "0.0.0.0"
[[listener]]
role = "mx"
address = "[::1]:25"
proxy_protocol_from = ["0.0.0.0/0", "x"]
[store]
url = "mysql://x"
master_key = "secret"
[dns]
nameservers = ["ns.example"]
trusted = ["192.0.2.1"]
[acme]
directory_url = "http://x"
contact = ["nobody"]
dns_hook = ["x"]
[alarms]
mail_to = [""]
webhook = "http://x"
[oidc]
issuer = "https://x.example"
[admin]
chain = "/x"
time_zone = "Mars"
[otel]
endpoint = "ftp://x"
header = "a b"
[tls_reports]
send = true
[pkcs11]
pin = "1234"
module = "$x"
[limits]
hops = 5
message_bytes = "5XB"
[queue]
retry = []
paused = "yes"
"""
FILES = {
    "many mistakes": ("g.toml", WRONG),
    "no TOML": ("g.toml", "[server]\nhostname = mx.example\n"),
    "an open text": ("g.toml", '[server]\nhostname = "mx.example\n'),
    "twice": ("g.toml", "[server]\n[server]\n"),
    "no JSON": ("g.json", '{"server": }'),
    "no table": ("g.json", "[]"),
    "empty": ("g.toml", ""),
    "not there": ("", ""),
}
COMMANDS = (("serve", "--check"), ("settings", "show"), ("queue", "list"), ("doctor",))
VARIABLES = {"GATEPOST_LISTENER__ROLE": "x", "GATEPOST_SERVER_HOSTNAME": "x", "GATEPOST_DNS__X": "1"}


def said(monkeypatch, locale, *words):
    for name in ("LC_MESSAGES", "LANG", "LANGUAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", locale)
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 2, result.output
    return result.output


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("file", FILES)
def test_no_error_of_a_settings_file_is_in_english(tmp_path, monkeypatch, language, file):
    name, text = FILES[file]
    path = tmp_path / (name or "nowhere.toml")
    if name:
        path.write_text(text, encoding="utf-8")
    for variable, value in VARIABLES.items() if file == "many mistakes" else ():
        monkeypatch.setenv(variable, value)
    for command in COMMANDS:
        lines = said(monkeypatch, LANGUAGES[language], "--config", path, *command).splitlines()
        assert any(str(path) in line for line in lines)
        assert [line for line in lines if ENGLISH.search(SAID_BY_OTHERS.sub("", line))] == []


def test_a_machine_without_settings_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("gatepost.settings.loader.DEFAULT_PATHS", (tmp_path / "none.toml",))
    for language, begin in (("sv", "ingen inställningsfil: "), ("de", "keine Einstellungsdatei: ")):
        assert said(monkeypatch, LANGUAGES[language], "queue", "list").startswith(begin)


def test_programs_read_english(tmp_path, monkeypatch):
    path = tmp_path / "g.toml"
    path.write_text('[server]\nhostname = "mx1"\nworkers = 999\n')
    words = ("--config", path, "doctor", "--json")
    english, swedish = (said(monkeypatch, locale, *words) for locale in ("C", LANGUAGES["sv"]))
    assert english == swedish
    assert json.loads(english)["findings"][1]["text"] == f"{path}:3: server.workers: 999 is out of range: 0 to 256"
