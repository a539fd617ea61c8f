from __future__ import annotations

import errno
import gc
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from gatepost.manage.cli import lazy, main
from gatepost.manage.cli.lazy import LazyGroup
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError

COMMANDS = {
    "tls": ("tls", "tls", "Prints the profiles."),
    "broken": ("no_such_module", "command", "Cannot be imported."),
    "again": ("tls", "no_such_command", "Is not in its module."),
}


@pytest.fixture
def group():
    return LazyGroup("some", commands=COMMANDS)


def call(group, *words):
    return CliRunner().invoke(group, words)


def test_help_imports_nothing(group):
    """So that it is there at once, even where a command cannot be imported."""
    result = call(group, "--help")
    assert result.exit_code == 0
    lines = [line.split(maxsplit=1) for line in result.output.splitlines()]
    assert lines[lines.index(["Commands:"]) + 1 :] == [[name, text] for name, (_, _, text) in COMMANDS.items()]
    assert group.list_commands(click.Context(group)) == list(COMMANDS), "in the order of their declaration"


def test_a_command_is_found_by_its_name_alone(group):
    context = click.Context(group)
    assert group.get_command(context, "tls").name == "tls"
    for name in ("", "TLS", "tl", "gatepost.manage.cli.tls", "../tls"):
        assert group.get_command(context, name) is None
    result = call(group, "tl")
    assert result.exit_code == 2
    assert "No such command 'tl'" in result.output


@pytest.mark.parametrize("words", [("quue",), ("queue", "lst"), ("connector", "sow"), ("certificate", "changover")])
def test_a_name_that_is_no_command_gets_the_one_that_is_like_it(words):
    meant = {"quue": "queue", "lst": "list", "sow": "show", "changover": "changeover"}[words[-1]]
    result = call(main, *words)
    assert result.exit_code == 2
    assert f"No such command '{words[-1]}'" in result.stderr
    assert f"'{meant}'" in result.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("history", "6"), "history show 6"),
        (("trace", "7"), "trace show 7"),
        (("queue", "0123456789abcdef"), "queue show 0123456789abcdef"),
        (("connector", "out"), "connector show out"),
        (("connector", "to hq"), "connector show 'to hq'"),
        (("certificate", "ab12"), "certificate show ab12"),
        (("domain", "contoso.example", "--json"), "domain show contoso.example"),
    ],
)
def test_an_id_or_name_in_place_of_a_command_gets_the_one_that_shows_it(words, meant):
    result = call(main, *words)
    assert result.exit_code == 2
    assert f"Did you mean {f'main {meant}'!r}?" in result.stderr


def test_a_group_that_lists_by_itself_is_proposed_for_list():
    assert "Did you mean 'main history'?" in call(main, "history", "list").stderr


@pytest.mark.parametrize(
    "words", [("nothing-like-it",), ("trace", "list"), ("completion", "7"), ("queue", "a\x1b[2Jb"), ("store", "7")]
)
def test_nothing_is_proposed_where_nothing_shows_it(words):
    result = call(main, *words)
    assert (result.exit_code, "show" in result.stderr) == (2, False)


def test_a_module_is_imported_when_its_command_is_used(group, monkeypatch):
    asked = []
    monkeypatch.setattr(lazy, "import_module", lambda name: asked.append(name) or import_module(name))
    call(group, "--help")
    call(group, "no-such-command")
    assert asked == []
    assert call(group, "tls", "--help").exit_code == 0
    assert set(asked) == {"gatepost.manage.cli.tls"}


def test_a_mistake_of_ours_is_not_hidden(group):
    assert isinstance(call(group, "broken").exception, ModuleNotFoundError)
    assert isinstance(call(group, "again").exception, AttributeError)


def test_every_command_of_ours_can_be_imported():
    """What is declared is there; a name that was misspelt would show only when somebody used it."""
    seen = []

    def look(group, path):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None, (path, name)
            seen.append((*path, name))
            if isinstance(command, click.Group):
                look(command, (*path, name))

    look(main, ())
    assert {("queue", "list"), ("certificate", "changeover", "status")} <= set(seen)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (RefusalKind.INPUT, 2),
        (RefusalKind.FORBIDDEN, 2),
        (RefusalKind.BLOCKED, 2),
        (RefusalKind.CONFLICT, 1),
        (RefusalKind.UNREADABLE, 3),
    ],
)
def test_what_is_refused_ends_with_its_text_and_code(group, monkeypatch, kind, code):
    refusal = Refusal(kind, "it is not\x1b[2J so", [FieldError("name", "is taken")])

    @click.command()
    def command():
        raise refusal

    monkeypatch.setattr(group, "get_command", lambda *_: command)
    result = call(group, "tls")
    assert result.exit_code == code
    assert "it is not" in result.stderr
    assert "\x1b" not in result.stderr
    assert result.stdout == ""


def test_a_group_may_end_in_its_own_way(monkeypatch):
    class Kept(LazyGroup):
        def end(self, refusal):
            raise SystemExit(f"kept: {refusal.text}")

    @click.command()
    def command():
        raise Refusal(RefusalKind.MISSING, "nothing there")

    group = Kept("some", commands=COMMANDS)
    monkeypatch.setattr(group, "get_command", lambda *_: command)
    assert "kept: nothing there" in call(group, "tls").output


def test_python_seldom_looks_for_garbage_while_a_command_runs():
    """And as often as before when it has ended, however it ends."""
    usual, seen = gc.get_threshold(), []

    @click.group(cls=LazyGroup, commands={}, invoke_without_command=True)
    def group():
        seen.append(gc.get_threshold())
        raise SystemExit(1)

    assert call(group).exit_code == 1
    assert seen[0][0] > 10 * usual[0]
    assert gc.get_threshold() == lazy.COLLECTIONS == usual


def options_below(group, path):
    """Each visible option of each command, with where it is."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from options_below(command, f"{path} {name}")
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                yield f"{path} {name} {option.opts[0]}", option


def test_every_option_of_ours_says_what_it_is_for():
    helps = [(where, option.help) for where, option in options_below(main, "gatepost")]
    assert [where for where, text in helps if not text or text.startswith("[")] == []


def test_no_option_offers_nothing_as_a_choice():
    """An error would name it: "'x' is not one of '', 'inbound', 'outbound'"."""
    choices = [(where, option.type.choices) for where, option in options_below(main, "gatepost")
               if isinstance(option.type, click.Choice)]  # fmt: skip
    assert [where for where, values in choices if "" in values] == []


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("organization", "show", "x" * 300_000), 2, "there is no organization"),
        (("organization", "add", "red", "\x1b[31mred"), 2, "?[31mred: must be KEY=VALUE"),
        (("queue", "hold", "--sender", "\udce4"), 2, "a text on the command line is not UTF-8: '\\udce4'"),
        (("tls", "profiles", "\x1b[31mred"), 2, "unknown profile ?[31mred"),
        (("evidence", "export", "-o", ""), 2, "-o and --proof need the name of a file"),
        (("evidence", "verify", "--key", "/proc/self/mem", "."), 2, "--key /proc/self/mem: Input/output error"),
    ],
)
def test_whatever_is_typed_the_error_is_short_harmless_and_no_traceback(home, words, code, why):
    said = home.call(*words, code=code).stderr
    assert why in said
    assert max(map(len, said.split("\n"))) < 5000
    assert "\x1b" not in said


def test_an_error_of_the_system_that_no_command_explains_ends_with_3(home, monkeypatch):
    def broken(_profile):
        raise OSError(errno.EIO, "Input/output error", "/srv/key")

    monkeypatch.setattr("gatepost.manage.cli.tls.profile_record", broken)
    said = home.call("tls", "profiles", code=3).stderr
    assert said == "/srv/key: Input/output error; what the command did stays done\n"
