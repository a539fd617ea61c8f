from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[4]
sys.path.insert(0, str(ROOT / "scripts"))

import catalogues  # noqa: E402 - it is no package

from gatepost.manage.cli import main, output  # noqa: E402 - as above
from gatepost.manage.cli.lazy import LazyGroup, _spoken  # noqa: E402 - as above
from gatepost.manage.cli.localized_help import is_verbatim, paragraphs  # noqa: E402 - as above
from gatepost.manage.cli.output import (  # noqa: E402 - as above
    _,
    ngettext,
    print_facts,
    quantity,
    speak,
)

VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG", "LANGUAGE")
SWEDISH, GERMAN = {"LC_ALL": "sv_SE.UTF-8"}, {"LC_ALL": "de_DE.UTF-8"}
ENGLISH = {"LC_ALL": "C"}
RESOURCES = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.outbound_connector]]
name = "rest"
recipient_domains = ["*"]
tls_settings = "encryption-only"
[[organization.contoso.mail_flow_rule]]
name = "secrets"
header_name = "Sensitivity"
require_tls = true
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Those of gettext, changed by a function; the language of the tests is English again afterwards."""
    output._chosen.cache_clear()

    def change(**values):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        speak()

    yield change
    monkeypatch.undo()
    output._chosen.cache_clear()
    speak()


@pytest.fixture
def stored(home, tmp_path):
    home.fill()
    file = tmp_path / "resources.toml"
    file.write_text(RESOURCES, encoding="utf-8")
    home.call("apply", "-f", file)
    return home


# which language


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "en"),
        ({"LANG": "sv_SE.UTF-8"}, "sv"),
        ({"LANG": "de_AT@euro"}, "de"),
        ({"LANG": "de"}, "de"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({"LANG": "en_GB.UTF-8"}, "en"),
        ({"LANG": "sv_SE.UTF-8", "LC_MESSAGES": "de_DE.UTF-8"}, "de"),
        ({"LANG": "sv_SE.UTF-8", "LC_MESSAGES": "de_DE.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "sv_SE.UTF-8", "LC_MESSAGES": "", "LC_ALL": ""}, "sv"),
        ({"LC_CTYPE": "sv_SE.UTF-8"}, "en"),
        ({"LANG": "sv_SE.UTF-8", "LANGUAGE": "fr:de:sv"}, "de"),
        ({"LANG": "sv_SE.UTF-8", "LANGUAGE": "en_GB:en:sv"}, "en"),
        ({"LANG": "C.UTF-8", "LANGUAGE": "sv"}, "en"),
        ({"LANG": "POSIX", "LANGUAGE": "sv"}, "en"),
        ({"LANGUAGE": "sv"}, "en"),
        ({"LANG": "../../sv"}, "en"),
    ],
)
def test_the_language_is_that_of_the_environment(environment, values, expected):
    environment(**values)
    assert output.language() == expected


def test_a_language_that_is_not_complete_is_not_offered(environment, monkeypatch, tmp_path):
    monkeypatch.setattr(output, "LOCALE", str(tmp_path))
    environment(LANG="sv_SE.UTF-8")
    assert output.language() == "en"


@pytest.mark.parametrize(
    ("encoding", "expected"), [("utf-8", "de"), ("iso-8859-1", "de"), ("ascii", "en"), ("x", "en")]
)
def test_a_language_whose_letters_cannot_be_printed_is_not_spoken(environment, monkeypatch, encoding, expected):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(encoding=encoding))
    environment(**GERMAN)
    assert output.language() == expected


@pytest.mark.parametrize("code", sorted(output.LETTERS))
def test_a_catalogue_has_no_letter_that_its_language_does_not_name(code):
    """Where these can be printed nothing fails; whatever else a translation has, its English text has too."""
    for message in catalogues.read(catalogues.COMMANDS_DOMAIN.file(code, "po")):
        originals = message.id if isinstance(message.id, tuple) else (message.id,)
        forms = message.string if isinstance(message.string, tuple) else (message.string,)
        allowed = {*output.LETTERS[code], *"".join(originals)} if message.id else {*map(chr, range(128))}
        assert {letter for letter in "".join(forms) if ord(letter) > 127} - allowed == set(), message.id


@pytest.mark.parametrize(("encoding", "first"), [("ascii", b"Usage:"), ("iso-8859-1", "Användning:".encode("latin-1"))])
def test_a_terminal_without_unicode_gets_what_it_can_show(encoding, first):
    values = {**os.environ, "LC_ALL": "sv_SE", "PYTHONIOENCODING": encoding}
    for words in (["--help"], ["queue", "list", "--help"], ["quue"]):
        done = subprocess.run([sys.executable, "-m", "gatepost", *words], capture_output=True, env=values, check=False)
        assert (done.stdout or done.stderr).startswith(first)
        assert b"Traceback" not in done.stderr


def test_english_reads_no_catalogue():
    script = (
        "import sys; from gatepost.manage.cli import main, output\n"
        "try: main(['queue', 'list', '--help'])\n"
        "finally: print(output._catalogue.cache_info().misses, 'gatepost.manage.cli.localized_help' in sys.modules)"
    )
    ends = {}
    for code, values in (("en", ENGLISH), ("sv", SWEDISH)):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, env={**os.environ, **values}, check=False, text=True
        )
        ends[code] = done.stdout.splitlines()[-1]
    assert ends == {"en": "0 False", "sv": "1 True"}


# texts


def test_numbers_have_their_form_and_their_signs(environment):
    environment(**SWEDISH)
    assert quantity(1, "message") == "1 meddelande"
    assert quantity(1204, "delivery", "deliveries") == "1\u00a0204 leveranser"
    environment(**GERMAN)
    assert [quantity(number, "message") for number in (0, 1, 2)] == ["0 Nachrichten", "1 Nachricht", "2 Nachrichten"]
    environment()
    assert quantity(1204, "delivery", "deliveries") == "1,204 deliveries"
    assert ngettext("%(num)s day", "%(num)s days", 1) == "1 day"


def test_a_value_is_never_translated_or_formatted(environment):
    environment(**SWEDISH)
    assert _("%(name)s: removed", name="%(name)s never %s") == "%(name)s never %s: borttagen"
    assert _("no such text of ours") == "no such text of ours"
    assert _("") == ""


def test_a_value_does_nothing_to_the_terminal(environment, capsys):
    environment(**SWEDISH)
    output.say("%(name)s: removed", name="\x1b[2Jhq\n")
    assert capsys.readouterr().out == "?[2Jhq?: borttagen\n"
    assert _("%(text)s", text=quantity(1204, "message")) == "1\u00a0204 meddelanden"


def test_names_of_facts_are_aligned_by_the_longest(environment, capsys):
    facts = [("message", 1), ("next attempt", 2), ("private key", 3)]
    environment(**GERMAN)
    print_facts(facts)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["Nachricht          1", "nächster Versuch   2", "privater Schlüssel 3"]
    environment()
    print_facts(facts)
    assert capsys.readouterr().out.splitlines()[0] == "message       1"


# help


def invoke(*words, **values):
    return CliRunner().invoke(main, words, env={**dict.fromkeys(VARIABLES), **values}, prog_name="gatepost")


def commands(command=main, context=None):
    context = context or click.Context(
        main, info_name="gatepost", terminal_width=120, help_option_names=["-h", "--help"]
    )
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            yield from commands(inner, click.Context(inner, info_name=name, parent=context, terminal_width=120))


def in_pseudo(text):
    """The text with no Latin letter outside of placeholders."""
    return re.sub(r"%\(\w+\)s|\{[^}]*\}|[A-Za-z]", lambda found: found[0] if len(found[0]) > 1 else "ж", text)


def pseudo_catalogue(folder, *, without=""):
    """A language in which no translation has a Latin letter. without: a text that is not translated."""
    catalogue = catalogues.template(catalogues.COMMANDS_DOMAIN)
    for message in catalogue:
        if message.id and message.id != without:
            many = isinstance(message.id, tuple)
            message.string = tuple(map(in_pseudo, message.id)) if many else in_pseudo(message.id)
    file = folder / "sv" / "LC_MESSAGES" / "commands.mo"
    file.parent.mkdir(parents=True, exist_ok=True)
    catalogue.locale = "sv"
    file.write_bytes(catalogues.mo_octets(catalogue))


def names(command, context):
    """What may stand in the help of a command in every language: names, values and examples."""
    texts = [
        context.command_path,
        *(word for text in (command.help or "",) for word in paragraphs(text) if is_verbatim(word)),
    ]
    if isinstance(command, click.Group):
        texts += command.list_commands(context)
    for parameter in command.get_params(context):
        texts += [*parameter.opts, *parameter.secondary_opts, str(parameter.default)]
        texts += [parameter.make_metavar(context), *map(str, getattr(parameter.type, "choices", ()))]
    return {word for text in texts for word in re.findall(r"[A-Za-z]{2,}", text)} | {
        "OPTIONS",
        "ARGS",
        "COMMAND",
        "required",
    }


def untranslated():
    """Words in the help of commands that stand in no catalogue, by command."""
    found = {}
    for command, context in commands(_spoken(main)):
        words = {*re.findall(r"[A-Za-z]{2,}", command.get_help(context))} - names(command, context)
        if words:
            found[context.command_path] = words
    return found


def test_every_word_of_help_can_be_translated(environment, monkeypatch, tmp_path):
    monkeypatch.setattr(output, "LOCALE", str(tmp_path))
    monkeypatch.setattr(output, "_catalogue", cache(output._catalogue.__wrapped__))
    pseudo_catalogue(tmp_path)
    environment(**SWEDISH)
    assert untranslated() == {}


def test_a_word_of_help_that_is_not_translated_is_found(environment, monkeypatch, tmp_path):
    monkeypatch.setattr(output, "LOCALE", str(tmp_path))
    monkeypatch.setattr(output, "_catalogue", cache(output._catalogue.__wrapped__))
    pseudo_catalogue(tmp_path, without="Only check whether it could start; change nothing.")
    environment(**SWEDISH)
    assert untranslated() == {"gatepost serve": {"Only", "whether", "it", "could", "start", "change", "nothing"}}


@pytest.mark.parametrize(
    ("values", "words", "expected"),
    [
        (
            SWEDISH,
            ("queue", "--help"),
            ["Användning: gatepost queue", "Visa och hantera e-post", "  hold     Håll kvar"],
        ),
        (GERMAN, ("queue", "--help"), ["Aufruf: gatepost queue", "-h, --help", "anhalten"]),
        (GERMAN, ("--help",), ["Befehle:", "Exitcodes: 0 ja", "Diese Meldung zeigen"]),
        (SWEDISH, ("quue",), ["Fel: Kommandot 'quue' finns inte. Menade du 'queue'?"]),
        (GERMAN, ("queue", "show"), ["Fehler: Argument fehlt"]),
        (SWEDISH, ("--token", "x", "status"), ["--token behöver --server URL"]),
        ({}, ("queue", "--help"), ["Usage: gatepost queue", "Commands:"]),
    ],
)
def test_help_and_usage_errors(values, words, expected):
    output = invoke(*words, **values).output
    assert [text for text in expected if text not in output] == []


def test_a_language_leaves_nothing_behind():
    """What a command of one language showed is in the next one's own."""
    first = invoke("connector", "list", "--help")
    assert "Visa detta meddelande" in invoke("connector", "list", "--help", **SWEDISH).output
    assert invoke("connector", "list", "--help").output == first.output
    assert isinstance(main, LazyGroup)
    assert main.help.startswith("gatepost: a mail gateway")


# commands


def speak_in(monkeypatch, home, values, *words):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return CliRunner().invoke(main, ["--config", str(home.file), *words])


EXPLAIN = ("explain", "--from", "ann@contoso.example", "--to", "bob@partner.example")


@pytest.mark.parametrize(
    ("words", "swedish", "german"),
    [
        (
            ("status",),
            ["konfiguration", "behöver åtgärdas:", "Något är fel"],
            ["Warteschlange", "Handlungsbedarf:", "Fehlerhaft"],
        ),
        (("queue", "list"), ["4 leveranser av 3 meddelanden"], ["4 Zustellungen von 3 Nachrichten", "1 angehalten"]),
        (("queue", "show", "ANN"), ["nästa försök  2026", "avsändare "], ["nächster Versuch 2026", "Absender "]),
        (("queue", "retry", "NOBODY"), ["retry: 0 leveranser"], ["retry: 0 Zustellungen"]),
        (EXPLAIN, ["INKOMMANDE", "UTGÅENDE", "antaget: "], ["EINGEHEND", "AUSGEHEND"]),
        (("certificate", "add"), ["ange CHAIN"], ["geben Sie CHAIN an"]),
        (
            ("trace", "search", "--sender", "x@y.example"),
            ["inga rader hittades med: "],
            ["keine Zeilen gefunden mit: "],
        ),
        (("doctor", "--offline"), ["härnäst: ", " fel, "], ["als Nächstes: ", " Fehler, "]),
    ],
)
def test_main_commands_speak_the_language(stored, monkeypatch, words, swedish, german):
    ids = {"ANN": stored._filled[1]["ann"], "NOBODY": "0000000000000001"}
    words = [ids.get(word, word) for word in words]
    english = speak_in(monkeypatch, stored, ENGLISH, *words)
    for values, expected in ((SWEDISH, swedish), (GERMAN, german)):
        result = speak_in(monkeypatch, stored, values, *words)
        assert result.exit_code == english.exit_code, result.output
        assert [text for text in expected if text not in result.output] == [], result.output
        assert [text for text in expected if text in english.output] == []


@pytest.mark.parametrize(
    ("words", "english", "swedish", "german"),
    [
        (
            ("connector", "show", "nobody"),
            "there is no connector 'nobody'; there are: 'rest'",
            "koppling 'nobody' finns inte; det finns: 'rest'",
            "nicht vorhanden: Connector 'nobody'; vorhanden: 'rest'",
        ),
        (
            ("connector", "set", "rest", "tls_domain=bank.example"),
            'the name is compared only under tls_settings = "domain-validation"',
            'namnet jämförs bara under tls_settings = "domain-validation"',
            'der Name wird nur unter tls_settings = "domain-validation" verglichen',
        ),
    ],
)
def test_refusals_of_use_cases_speak_the_language_but_not_to_programs(
    stored, monkeypatch, words, english, swedish, german
):
    for values, expected in ((ENGLISH, english), (SWEDISH, swedish), (GERMAN, german)):
        result = speak_in(monkeypatch, stored, values, *words)
        assert result.exit_code == 2
        assert expected in result.stderr
        assert english in speak_in(monkeypatch, stored, values, *words, "--json").stderr


# Words that hold English sentences together, and that are no words of the other language.
ENGLISH_WORDS = re.compile(r"\b(the|is|are|which|and|with|not|that|this|from|of|cannot|there|been|must|would)\b")
SAID_BY_OTHERS = re.compile(r"\S*/test_\S+|\d{3} \d\.\d\.\d+ .*|JSON is malformed.*|not-published|only-if-not-\S*")
COMMANDS = (
    ("status",),
    ("alarms",),
    ("doctor", "--offline"),
    ("organization", "list"),
    ("domain", "show", "contoso.example"),
    ("domain", "set", "contoso.example", "type=none"),
    ("connector", "list"),
    ("connector", "show", "nobody"),
    ("connector", "show", "rest", "--fields"),
    ("organization", "show", "contoso", "--fields"),
    ("quarantine", "list"),
    ("connector", "rehearsal", "rest"),
    ("connector", "set", "rest", "nonsense"),
    ("connector", "set", "rest", "enabled=maybe"),
    ("connector", "set", "rest", "enabled+=true"),
    ("connector", "set", "rest", "smart_hosts-=a"),
    ("connector", "set", "rest", "tls_settings=none"),
    ("connector", "set", "rest", "tls_settings.a=1"),
    ("organization", "set", "contoso", "accepted_domain=a"),
    ("connector", "secret", "rest"),
    ("connector", "set", "rest", "enabled=true", "enabled=true"),
    ("rule", "list"),
    ("certificate", "list"),
    ("certificate", "history"),
    ("history",),
    ("history", "revert", "99999"),
    ("queue", "list"),
    ("queue", "show", "ANN"),
    ("queue", "show", "zz"),
    ("queue", "hold", "--all", "--dry-run"),
    ("trace", "search"),
    ("trace", "search", "--since", "yesterday"),
    ("site", "status"),
    ("site", "root"),
    ("site", "token"),
    ("site", "leave"),
    ("store", "check"),
    ("store", "migrate", "--from", "sqlite:", "--to", "sqlite:/nowhere"),
    ("store", "migrate", "--from", "sqlite:x", "--to", "sqlite:"),
    ("store", "restore", "/nowhere"),
    ("store", "reopen"),
    ("store", "prepare"),
    ("evidence", "verify"),
    ("evidence", "verify", __file__),
    ("user", "remove", "nobody"),
    ("token", "remove", "nobody"),
    ("token", "add", "x y", "--scope", "read"),
    ("grant", "list"),
    ("report", "tls"),
    EXPLAIN,
)


@pytest.mark.parametrize("values", [SWEDISH, GERMAN], ids=["sv", "de"])
def test_no_command_prints_an_english_sentence(stored, monkeypatch, values):
    """Neither what a person is shown, nor why a command refuses."""
    monkeypatch.setattr("gatepost.manage.cli.output.sys", _Terminal(is_terminal=True))
    words = {"ANN": stored._filled[1]["ann"]}
    found = {
        line: " ".join(command)
        for command in COMMANDS
        for line in speak_in(
            monkeypatch, stored, values, *(words.get(word, word) for word in command)
        ).output.splitlines()
        if ENGLISH_WORDS.search(SAID_BY_OTHERS.sub("", line))
    }
    assert found == {}


def test_a_sentence_that_the_terminal_cannot_show_stays_in_english(environment, monkeypatch):
    environment(**SWEDISH)
    text = "resolve the items marked ✗ or ?, then: gatepost certificate changeover check 1"
    assert output.ours(text).startswith("åtgärda")
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(encoding="iso-8859-1"))
    assert output.ours(text) == text
    assert output.ours("all partners were notified") == "alla partner har meddelats"


def test_a_table_is_translated_on_a_terminal_alone(stored, monkeypatch):
    """In a pipe it is for programs, as its tabs are: headings and cells."""
    outputs = {}
    for is_terminal in (False, True):
        monkeypatch.setattr("gatepost.manage.cli.output.sys", _Terminal(is_terminal=is_terminal))
        for words in (("rule", "list"), ("certificate", "list"), ("tls", "profiles")):
            outputs[is_terminal, words[0]] = speak_in(monkeypatch, stored, GERMAN, *words).stdout
    assert outputs[False, "rule"].startswith("status\tpriority\tname\torganization\tif\tthen\n")
    assert "header Sensitivity has any value\tonly over TLS" in outputs[False, "rule"]
    assert "\tyes\t" in outputs[False, "tls"]
    assert outputs[True, "rule"].startswith("STATUS ")
    assert "Kopffeld Sensitivity hat beliebigen Wert" in outputs[True, "rule"]
    assert "ZUSTAND" in outputs[True, "certificate"]
    assert "SCHLÜSSELAUSTAUSCH/STÄRKE" in outputs[True, "tls"]
    assert "  ja  " in outputs[True, "tls"]


class _Terminal:
    """The module sys, whose standard output is a terminal or is not."""

    def __init__(self, *, is_terminal):
        self._is_terminal = is_terminal

    def __getattr__(self, name):
        return _Stream(sys.stdout, self._is_terminal) if name == "stdout" else getattr(sys, name)


class _Stream:
    def __init__(self, stream, is_terminal):
        self._stream = stream
        self.isatty = lambda: is_terminal

    def __getattr__(self, name):
        return getattr(self._stream, name)


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("alarms",),
        ("queue", "list"),
        ("queue", "retry", "0000000000000001"),
        ("queue", "release", "--all", "--dry-run"),
        ("trace", "search"),
        ("organization", "list"),
        ("domain", "show", "contoso.example"),
        ("connector", "list"),
        ("connector", "show", "rest"),
        ("connector", "validate", "none"),
        ("connector", "drills"),
        ("rule", "list"),
        ("certificate", "list"),
        ("certificate", "changeover", "status"),
        ("site", "status"),
        ("site", "history"),
        ("node", "list"),
        ("user", "list"),
        ("grant", "list"),
        ("history",),
        ("store", "check"),
        ("report", "tls"),
        ("evidence", "verify"),
        ("tls", "profiles"),
        ("doctor", "--offline"),
        EXPLAIN,
    ],
    ids="-".join,
)
def test_what_programs_read_is_the_same_in_every_language(stored, monkeypatch, words):
    """But for digits: a status tells times."""
    results = [speak_in(monkeypatch, stored, values, *words, "--json") for values in (ENGLISH, SWEDISH, GERMAN)]
    assert len({result.exit_code for result in results}) == 1
    shown = [re.sub(r"[0-9a-f]{12,}|\d[\d.,]*", "0", result.output) for result in results]
    assert shown == [shown[0]] * 3
    assert results[0].stdout or results[0].exit_code
