"""Options that are made of a request: what is not given has the request's default, or stays unset."""

from __future__ import annotations

from typing import Annotated

import click
import msgspec
import pytest
from click.testing import CliRunner
from msgspec import UNSET, UnsetType

from gatepost.manage.access.principal import Role
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases.declaration import Cli


class Change(msgspec.Struct, kw_only=True):
    """Of every kind that may be left unset."""

    name: Annotated[str, Cli(argument=True)]
    role: Role | UnsetType = UNSET
    note: str | UnsetType = UNSET
    owner: str | None = None
    names: Annotated[list[str] | UnsetType | None, Cli(option="only")] = UNSET
    words: list[str] = []
    secret: str | UnsetType = UNSET


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        ([], Change(name="ann")),
        (["--role", "owner"], Change(name="ann", role=Role.OWNER)),
        (["--note", ""], Change(name="ann", note="")),
        (["--owner", ""], Change(name="ann", owner="")),
        (["--only", "a", "--only", "b"], Change(name="ann", names=["a", "b"])),
        (["--words", "a"], Change(name="ann", words=["a"])),
    ],
)
def test_what_is_not_given_stays_as_the_request_has_it(arguments, request_):
    made = []

    @click.command()
    @request_options(Change, secret=UNSET)
    def command(request):
        made.append(request)

    result = CliRunner().invoke(command, ["ann", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert made == [request_]
