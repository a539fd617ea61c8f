"""What `--json` prints has one shape: rows are an array; an answer that says more than its rows is an object."""

from __future__ import annotations

import re

import click
import pytest

from gatepost.manage.cli import main

# Objects, as an array could not say what could not be looked at (`trouble`, `unknown`). Rows are named by their noun.
OBJECTS = {"certificate list": "certificates", "alarms": "alarms", "certificate alarms": "alarms"}
ROWS = {"list", "history", "heads", "drills", "audit", "search", "alarms"}


def commands(command=main, words=()):
    """Every command that lists something, as it is typed, if it needs no argument."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from commands(command.get_command(click.Context(command), name), (*words, name))
        return
    options = {option for parameter in command.params for option in parameter.opts}
    needs = any(parameter.required for parameter in command.params)
    if words[-1] in ROWS and "--json" in options and not needs:
        yield " ".join(words)


LISTING = sorted(commands())


@pytest.mark.parametrize("words", LISTING)
def test_rows_are_an_array(home, words):
    answer = home.json(*words.split(), code=None)
    if words in OBJECTS:
        assert isinstance(answer[OBJECTS[words]], list)
    else:
        assert isinstance(answer, list)


def test_the_commands_that_list_are_tried():
    assert set(LISTING) >= {
        *OBJECTS,
        "connector list",
        "certificate history",
        "audit",
        "trace search",
        "queue list",
        "user list",
    }


# What people script against, written out from the contract: each of them has `--json`.
CONTRACT = {
    "": "serve up demo status doctor apply export explain quickstart",
    "organization": "list show add set remove",
    "domain": "list show add set remove",
    "mailbox": "list show add set remove",
    "connector": "list show add set remove validate rehearsal drill",
    "import": "exchange postfix",
    "hybrid": "plan",
    "tls": "profiles",
    "check": "partner host chain roots",
    "certificate": "list add request publish",
    "certificate changeover": "status check stage notice told switch cancel roll-back withdraw",
    "queue": "list show retry hold release drop",
    "trace": "search show",
    "report": "tls connectors tlsrpt",
    "evidence": "export verify",
    "settings": "show",
    "node": "list drain remove",
    "user": "add set remove",
    "token": "add remove",
    "site": "init join status",
    "store": "migrate backup restore check",
}


def command_of(words):
    command = main
    for word in words.split():
        command = command.get_command(click.Context(command), word)
        assert command is not None, f"there is no command {words}"
    return command


def options_of(words):
    command = command_of(words)
    return {option for parameter in command.params for option in parameter.opts}


WORDS = [f"{group} {name}".strip() for group, names in CONTRACT.items() for name in names.split()]


@pytest.mark.parametrize("words", WORDS)
def test_the_commands_that_scripts_rely_on_have_json(words):
    assert "--json" in options_of(words)


def every_command(command=main, words=()):
    """Every command as it is typed, groups without it."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from every_command(command.get_command(click.Context(command), name), (*words, name))
    else:
        yield " ".join(words)


def test_each_option_says_in_a_sentence_of_what_it_is():
    """ "Only for this one." does not."""
    for words in every_command():
        for parameter in command_of(words).params:
            text = getattr(parameter, "help", None) or "."
            assert text.rstrip().endswith((".", "]", ")")), (words, parameter.name)
            assert not re.search(
                r"\bonly (?:for |of |in |changes of )?(?:this|that|these|those)(?: one)?[.;,]|\bended so\b",
                text,
                re.IGNORECASE,
            ), text


def test_so_has_every_other_but_the_one_that_prints_a_script():
    assert [words for words in every_command() if "--json" not in options_of(words)] == ["completion"]
