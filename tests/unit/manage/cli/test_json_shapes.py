"""What `--json` prints has one shape: rows are an array; an answer that says more than its rows is an object."""

from __future__ import annotations

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
