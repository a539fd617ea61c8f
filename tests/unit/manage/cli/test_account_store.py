from __future__ import annotations

import click
from click.testing import CliRunner

from gatepost.manage.cli.account_store import of_organizations, opened, organization_option
from gatepost.manage.use_cases.refusal import Kind, Refusal


def run(home, refusal=None):
    @click.command()
    def command():
        with opened(str(home.file)) as its:
            click.echo(f"{its.by.name} {its.by.address!r} {len(its.accounts.users())} {its.gateway.data == home.data}")
            if refusal:
                raise refusal

    return CliRunner().invoke(command)


def test_what_a_command_works_on(home, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    assert run(home).stdout == "ada '' 0 True\n"


def test_a_refusal_goes_on_to_whoever_ends_commands(home):
    result = run(home, Refusal(Kind.CONFLICT, "why"))
    assert isinstance(result.exception, Refusal)


def test_organizations():
    @click.command()
    @organization_option("what it has")
    def command(organizations):
        click.echo(organizations)

    assert CliRunner().invoke(command, ["--organization", "a", "--organization", "b"]).stdout == "('a', 'b')\n"
    assert "Without it what it has." in " ".join(CliRunner().invoke(command, ["--help"]).stdout.split())
    assert [of_organizations(one) for one in (None, frozenset("ba"))] == ["(all)", "a, b"]
