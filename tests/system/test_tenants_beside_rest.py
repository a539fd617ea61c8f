"""Proves that a tenant reaches nothing of another by what REST does not have, and by no command from afar.

Use cases without a route are executed as pages and commands execute them, with requests made of what each declares.
Every command is given to the gateway with the tenant's token, and names of the other's in its arguments and options.
REST itself is tried in `test_tenants_apart.py`, pages with their forms in `test_admin_hostile.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner
from support.two_tenants import BOX, CANARIES, CONNECTOR, MINE, PART_NAMES, THEIRS, TwoTenants, filled, two_tenants

from gatepost.decoding import converted
from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.cli import main
from gatepost.manage.use_cases.catalogue import USE_CASES
from gatepost.manage.use_cases.change import ChangeResult
from gatepost.manage.use_cases.context import AuditTrail, Context, Gateway
from gatepost.manage.use_cases.declaration import FileResult, UseCase, Visibility
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.name_lookup import KINDS
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.policy.connectors.resources import Resources
from gatepost.settings.loader import load
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage
from gatepost.values import replace


@pytest.fixture(scope="module")
def scene() -> Iterator[TwoTenants]:
    with two_tenants() as found:
        yield found


TRIED = "token tenant"
"""Who it is in the audit, which shows what this very token tried, with the names that it gave."""
OWN = {"users"}
"""Tags of use cases without a route that are about who asks: their log-in, password, sessions and passkeys."""
BELOW_REST = [one for one in USE_CASES if not one.path and not (one.tag in OWN and one.scope is None)]


class Desk:
    """Executes use cases as a page does, in this process, for a tenant."""

    def __init__(self, scene: TwoTenants, accounts: Accounts) -> None:
        gateway = Gateway(load(str(scene.centre.gateway.config), {}))
        scopes = frozenset({Scope.READ, Scope.CONNECTORS, Scope.CERTIFICATES, Scope.QUEUE})
        self._tenant = Context(gateway, Principal(TRIED, scopes, frozenset({MINE})), lambda: accounts)
        self._owner = Context(gateway, Principal("owner", frozenset({Scope.OWNER})), lambda: accounts)

    def told(self, case: UseCase[Any, Any], values: dict[str, Any], *, by_owner: bool = False) -> str:
        """What the answer or the refusal says."""
        context = replace(self._owner if by_owner else self._tenant, audit=AuditTrail())
        try:
            return _spelled(execute(case, context, converted(values, case.request)))
        except Refusal as refusal:
            return f"refused {refusal.kind}: {refusal.text} {refusal.errors}"


def _spelled(value: Any) -> str:
    """All of a result in words, but the resources after a change, which no page is given (`ChangeResult.after`)."""
    if isinstance(value, FileResult):
        return b"".join(value.chunks).decode()
    if isinstance(value, ChangeResult):
        value = replace(value, after=Resources(()))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return " ".join(f"{name}={_spelled(getattr(value, name))}" for name in value._fields)
    return repr(value)


@pytest.fixture(scope="module")
def desk(scene: TwoTenants) -> Iterator[Desk]:
    with closing(Accounts(Storage(SQLITE, scene.data))) as accounts:
        yield Desk(scene, accounts)


def _requests(case: UseCase[Any, Any], scene: TwoTenants) -> Iterator[dict[str, Any]]:
    """Requests full of the other's names, with what must be given alone, and with one field more of each kind."""
    schema = msgspec.json.schema(case.request)
    known = schema["$defs"]
    fields = known[case.request.__name__]["properties"]
    for organization in (THEIRS, MINE, "") if "organization" in str(schema) else (THEIRS,):
        for kind in KINDS if "'kind'" in str(schema) else ("",):
            names = scene.names(THEIRS) | {"organization": organization, "kind": kind}
            names["name"] = PART_NAMES.get(kind, BOX)
            least = filled(schema, known, names, "", whole=False)
            table = {"table": TABLE} if "table" in fields else {}
            yield filled(schema, known, names, "", whole=True) | table
            yield least | table
            for one in fields:
                yield least | {one: filled(fields[one], known, names, one, whole=True)} | table


TABLE = {"recipient_domains": ["kanarie-partner.example"], "smart_hosts": ["203.0.113.1"]}


@pytest.mark.parametrize("case", BELOW_REST, ids=lambda one: one.name)
def test_no_use_case_below_rest_reaches_what_another_has(
    scene: TwoTenants, desk: Desk, case: UseCase[Any, Any]
) -> None:
    before = scene.theirs()
    for values in _requests(case, scene):
        told = desk.told(case, values)
        assert [one for one in CANARIES if one in told and one not in str(values)] == [], (values, told)
        if case.visibility is Visibility.GATEWAY:
            assert told.startswith("refused forbidden"), (values, told)
    assert scene.theirs() == before


def test_the_owner_is_told_below_rest(scene: TwoTenants, desk: Desk) -> None:
    """Otherwise the test before could not fail."""
    told = " ".join(
        desk.told(case, values, by_owner=True)
        for case in BELOW_REST
        if not case.is_recorded and case.scope is Scope.READ
        for values in _requests(case, scene)
    )
    assert [one for one in CANARIES if one not in told] == []


class Terminal:
    """Gives commands to the gateway from afar, with the tenant's token or its owner's."""

    def __init__(self, scene: TwoTenants, folder: Path) -> None:
        self.folder = folder
        ca = str(scene.data / "admin" / "certificate.pem")
        self._words = ("--server", scene.centre.url, "--ca", ca)
        self.file = folder / "taken.toml"
        self.file.write_text(f'[organization.{THEIRS}]\ndisplay_name = "taken"\n', encoding="utf-8")

    def said(self, token: str, words: Sequence[str]) -> str:
        done = CliRunner().invoke(main, [*self._words, *words], env={"GATEPOST_TOKEN": token}, input="secret word\n")
        failed = done.exception if not isinstance(done.exception, SystemExit) else None
        assert failed is None, (words, failed)
        return done.output


@pytest.fixture(scope="module")
def terminal(scene: TwoTenants, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    return Terminal(scene, tmp_path_factory.mktemp("terminal"))


def _commands(command: click.Command, *words: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from _commands(found, *words, name)
    else:
        yield " ".join(words), command


# What runs on this machine alone, or asks the world and no gateway.
LOCAL = ("serve", "demo", "import ", "check ", "tls ", "site ", "smime ")
COMMANDS = [one for one in _commands(main) if not one[0].startswith(LOCAL)]


def _given(scene: TwoTenants, terminal: Terminal, words: str, one: click.Parameter, organization: str) -> list[str]:
    """What a parameter is given, as it is typed; [] where it says nothing about whose something is."""
    name = one.name.removeprefix("request_") if one.name else ""
    names = scene.names(THEIRS) | {"organization": organization, "reason": "x", "force": "x"}
    names |= {"name": NAMES_BY_COMMAND.get(words.partition(" ")[0], BOX), "words": WORDS.get(words, "comment=taken")}
    names |= {"output": str(terminal.folder / "out"), "names": CONNECTOR}
    if isinstance(one.type, click.Path):
        value = names["output"] if name in {"output", "proof", "directory"} else str(terminal.file)
    elif isinstance(one.type, click.Choice):
        value = "outbound" if name == "direction" else str(next(iter(one.type.choices)))
    else:
        value = names.get(name, CONNECTOR if one.required else "")
        value = str(value[0]) if isinstance(value, list) else str(value)
    if isinstance(one, click.Argument):
        return [value] if one.required or name in {"messages", "names"} else []
    assert isinstance(one, click.Option)
    if one.is_flag:
        return [one.opts[0]] if name in {"from_stdin", "all", "remove"} else []
    return [one.opts[0], value] if value and (one.required or name in TELLING) else []


NAMES_BY_COMMAND = {
    "organization": THEIRS, "domain": "contoso.example", "mailbox": BOX, "connector": CONNECTOR,
    "rule": "kanarie-rule", "dkim": "kanarie._domainkey.contoso.example", "token": "owner", "user": "olga",
}  # fmt: skip
WORDS = {
    "organization set": "display_name=taken",
    "domain set": "type=internal-relay",
    "mailbox set": "tls_reports=true",
}
TELLING = {"organization", "message", "session", "connector", "domain", "address", "sender", "recipient", "reason"}


def _typed(scene: TwoTenants, terminal: Terminal, words: str, command: click.Command) -> Iterator[list[str]]:
    """The command with all that it must have, and with each option that names something of the other's."""
    for organization in (THEIRS, MINE):
        given = {one: _given(scene, terminal, words, one, organization) for one in command.params}
        must = [
            word for one, typed in given.items() if isinstance(one, click.Argument) or one.required for word in typed
        ]
        options = [
            typed for one, typed in given.items() if isinstance(one, click.Option) and typed and not one.required
        ]
        for option in ([], *options, [word for typed in options for word in typed]):
            yield [*words.split(), *option, *must]


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=lambda one: one if isinstance(one, str) else "")
def test_no_command_from_afar_reaches_what_another_has(
    scene: TwoTenants, terminal: Terminal, words: str, command: click.Command
) -> None:
    before = scene.theirs()
    for typed in _typed(scene, terminal, words, command):
        said = "\n".join(one for one in terminal.said(scene.token, typed).splitlines() if TRIED not in one)
        assert "Usage:" not in said or "works only on" in said, (typed, said)
        assert [one for one in CANARIES if one in said and one not in " ".join(typed)] == [], (typed, said)
    assert scene.theirs() == before


def test_the_owner_reaches_it_by_commands_from_afar(tmp_path: Path) -> None:
    """Otherwise the test before could not fail."""
    with two_tenants() as scene:
        terminal, commands = Terminal(scene, tmp_path), dict(COMMANDS)
        said = " ".join(
            terminal.said(scene.owner, typed)
            for words, command in COMMANDS
            if words.endswith((" list", " show", "search", "export"))
            for typed in _typed(scene, terminal, words, command)
        )
        assert [one for one in CANARIES if one not in said] == []
        for words in ("queue hold", "connector set", "domain set", "organization set", "rule remove", "apply"):
            before = scene.theirs()
            said = "".join(terminal.said(scene.owner, one) for one in _typed(scene, terminal, words, commands[words]))
            assert scene.theirs() != before, said
