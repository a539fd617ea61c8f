from __future__ import annotations

import os
import time

import click
import pytest
from click.testing import CliRunner

from gatepost.manage.cli.options import MOMENT, author, ending, fail, gateway_options, local_settings, refused
from gatepost.manage.cli.output import wants_json
from gatepost.manage.cli.remote_options import RemoteOptions
from gatepost.manage.cli.stored_names import connector_options
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError


@click.group()
@click.option("--config")
@click.pass_context
def group(context, config):
    context.obj = RemoteOptions(config)


@group.command()
@gateway_options
def show():
    click.echo(f"{local_settings().server.hostname} {wants_json()}")


def call(*words, **environment):
    return CliRunner().invoke(group, list(map(str, words)), env=environment)


@pytest.fixture
def files(tmp_path):
    """Settings files by the host name they give."""

    def make(name):
        file = tmp_path / f"{name}.toml"
        file.write_text(f'[server]\nhostname = "{name}.example"\n', encoding="utf-8")
        return file

    return make


def test_settings_may_be_named_before_the_command_behind_it_or_outside(files):
    a, b, c = map(files, "abc")
    assert call("--config", a, "show").stdout == "a.example False\n"
    assert call("show", "--config", b).stdout == "b.example False\n"
    assert call("show", "--json", GATEPOST_CONFIG=str(c)).stdout == "c.example True\n"
    assert call("--config", a, "show", "--config", b, GATEPOST_CONFIG=str(c)).stdout == "b.example False\n"
    assert call("--config", a, "show", GATEPOST_CONFIG=str(c)).stdout == "a.example False\n"
    assert call("--config", a, "show", GATEPOST_SERVER__HOSTNAME="d.example").stdout == "d.example False\n"


def test_settings_that_are_wrong_end_the_command_with_2_and_every_error(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text('[server]\nhostname = 5\nworkers = -1\ncolour = "red"\n', encoding="utf-8")
    result = call("--config", file, "show")
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{file}:{number}" for number in (2, 3, 4)]


def test_settings_that_are_not_there_end_the_command_with_2(tmp_path):
    result = call("--config", tmp_path / "missing.toml", "show")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{tmp_path / 'missing.toml'}: cannot be read: No such file or directory")


@pytest.mark.parametrize("code", [1, 2, 3])
def test_an_error_goes_to_standard_error_and_nothing_to_standard_output(capsys, code):
    with pytest.raises(SystemExit) as ended:
        fail(code, "it did not work")
    assert ended.value.code == code
    assert capsys.readouterr() == ("", "it did not work\n")


@pytest.mark.parametrize(
    ("number", "sudoer", "name"),
    [
        (0, None, "root"),
        (0, "daemon", "daemon (sudo)"),
        (0, "root", "root"),
        (0, "no such account", "root"),
        (1, "root", "daemon"),
        (4_000_000_000, None, "uid 4000000000"),
    ],
)
def test_the_author_is_who_gave_the_command(monkeypatch, number, sudoer, name):
    for variable in ("LOGNAME", "USER"):  # a command of root sets both, as it acts as the gateway's account
        monkeypatch.setenv(variable, "gatepost")
    monkeypatch.delenv("SUDO_USER", raising=False)
    if sudoer:
        monkeypatch.setenv("SUDO_USER", sudoer)
    monkeypatch.setattr(os, "getuid", lambda: number)
    assert author() == name


@pytest.mark.parametrize(
    ("kind", "code"),
    [(RefusalKind.INPUT, 2), (RefusalKind.MISSING, 2), (RefusalKind.CONFLICT, 1), (RefusalKind.UNREADABLE, 3)],
)
def test_how_a_refusal_ends_any_command(capsys, kind, code):
    with pytest.raises(SystemExit) as ended:
        refused(Refusal(kind, "why", [FieldError("name", "is taken"), FieldError("role", "is none")]))
    assert ended.value.code == code
    assert capsys.readouterr().err == "name: is taken\nrole: is none\nwhy\n"


AGES = [("0s", 0), ("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604800), ("1w", 604800)]


@pytest.mark.parametrize(("text", "seconds"), AGES)
def test_an_age_is_counted_back_from_now(text, seconds):
    assert abs(MOMENT.convert(text, None, None) - (time.time() - seconds)) < 5


DATES = [
    ("2026-11-24", 1_795_478_400.0),
    ("2026-11-24T14:00", 1_795_528_800.0),
    ("2026-11-24 14:00:00", 1_795_528_800.0),
    ("2026-11-24T14:00Z", 1_795_528_800.0),
    ("2026-11-24T15:00+01:00", 1_795_528_800.0),
    ("2026-11-24T14:00:00.250", 1_795_528_800.25),
]


@pytest.mark.parametrize(("text", "moment"), DATES)
def test_a_date_is_utc_unless_it_says_otherwise(text, moment):
    assert MOMENT.convert(text, None, None) == moment


@pytest.mark.parametrize(
    "text",
    ["", "2", "h", "-2h", "2 h", "2H", "1.5h", "2y", "yesterday", "24.11.2026", "2026-13-01", "1" * 10 + "h", "²h"],
)
def test_what_is_neither_is_refused_with_examples(text):
    with pytest.raises(click.BadParameter, match="is neither an age like 30m, 2h, 7d nor a date like 2026-11-24T16:00"):
        MOMENT.convert(text, None, None)


def test_a_default_stays_as_it_is():
    assert MOMENT.convert(0.0, None, None) == 0.0


@click.command()
@connector_options
def about(name, direction, organization):
    click.echo((name, direction, organization))


def asked(*words):
    return CliRunner().invoke(about, words)


def test_what_tells_connectors_apart():
    assert asked("bank in").output == "('bank in', None, '')\n"
    both = asked("--direction", "outbound", "--organization", "contoso", "bank").output
    assert both == "('bank', 'outbound', 'contoso')\n"
    assert asked("--", "--bank").output == "('--bank', None, '')\n", "a name may begin with a dash"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Missing argument 'NAME'"),
        (("a", "b"), "unexpected extra argument"),
        (("--direction", "sideways", "a"), "'inbound', 'outbound'"),
    ],
)
def test_wrong_use(words, told):
    result = asked(*words)
    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no name"), "--key: no name\n"),
        (FileNotFoundError(2, "No such file or directory", "/x"), "--key: No such file or directory\n"),
    ],
)
def test_errors_that_are_named_end_a_command(error, text, capsys):
    with pytest.raises(SystemExit, match="2"), ending(2, ValueError, OSError, place="--key: "):
        raise error
    assert capsys.readouterr().err == text
    with pytest.raises(KeyError), ending(2, ValueError):
        raise KeyError
