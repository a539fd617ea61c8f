from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import click
import msgspec
import pytest
from click.testing import CliRunner
from msgspec import UNSET, Meta, UnsetType

from gatepost.manage.access.principal import Role
from gatepost.manage.cli.request_options import limit_option, request_options
from gatepost.manage.use_cases.declaration import Cli
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Paint(msgspec.Struct, kw_only=True, rename={"sender": "from"}):
    house: Annotated[str, Cli(argument=True)]
    rooms: Annotated[list[str], Cli(argument=True)] = []
    color: Color = Color.RED
    shade: Literal["", "light", "dark"] = ""
    coats: Annotated[int, Meta(ge=1, le=3, description="How thick.")] = 1
    sender: Annotated[str, Cli(option="from", metavar="ADDRESS", help="Who asks.")] = ""
    at_night: bool = False
    wet: bool | None = None
    tags: list[str] = []
    hours: float | None = None
    limit: int = 100
    after: str = ""


def run(*words, fail=None, **fixed):
    got = []

    @click.command()
    @request_options(Paint, **fixed)
    @limit_option
    def command(request, limit):
        got.append((request, limit))
        if fail:
            raise fail

    result = CliRunner().invoke(command, words)
    return got[0] if got else result


def test_defaults():
    assert run("home") == (Paint(house="home"), 1000)


def test_everything_given():
    words = "home a b --color blue --shade dark --coats 3 --from x --at-night --wet --tags t --tags u --hours 1.5"
    assert run(*words.split(), "--limit", "0") == (
        Paint(
            house="home",
            rooms=["a", "b"],
            color=Color.BLUE,
            shade="dark",
            coats=3,
            sender="x",
            at_night=True,
            wet=True,
            tags=["t", "u"],
            hours=1.5,
        ),
        0,
    )


def test_a_command_may_say_some_itself():
    request, _ = run("home", color=Color.BLUE)
    assert request.color is Color.BLUE
    assert "No such option" in run("home", "--color", "red", color=Color.BLUE).output


@pytest.mark.parametrize("words", [(), ("home", "--coats", "4"), ("home", "--color", "pink"), ("home", "--shade", "")])
def test_what_cannot_be(words):
    assert run(*words).exit_code == 2


def test_help_has_limits_and_words():
    text = run("--help").output
    for said in ("HOUSE [ROOMS]", "--coats", "How thick.", "1<=x<=3", "--from ADDRESS", "Who asks.", "[dark|light]"):
        assert said in text
    assert "--after" not in text


def test_errors_are_named_as_they_are_typed():
    errors = [FieldError("from", "is wrong"), FieldError("rooms[1]", "is none"), FieldError("at_night", "no")]
    refusal = Refusal(RefusalKind.INPUT, "No.", errors)
    run("home", fail=refusal)
    assert [one.path for one in refusal.errors] == ["--from", "ROOMS[1]", "--at-night"]


def test_what_no_option_takes_is_found_at_once():
    class Odd(msgspec.Struct):
        what: dict[str, str] = {}

    with pytest.raises(TypeError, match="no option takes"):
        request_options(Odd)(lambda request: request)


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
