from __future__ import annotations

import click
from click.testing import CliRunner

from gatepost.manage.cli.door import Here, door
from gatepost.manage.cli.reach import Reach, Server
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.settings.loader import load


def names(gateway, who, *more):
    return type(gateway).__name__, who.name, more


def test_a_door_on_this_machine(tmp_path, monkeypatch):
    file = tmp_path / "gatepost.toml"
    file.write_text('[server]\nhostname = "mx.example"\n', encoding="utf-8")
    monkeypatch.setattr("gatepost.manage.cli.options.getpass.getuser", lambda: "ann")
    assert Here(Gateway(load(str(file), {})))(names, 1) == ("Gateway", "ann", (1,))


def test_a_door_to_another_one():
    @click.command()
    @click.pass_context
    def command(context):
        context.obj = Reach(server=Server("https://127.0.0.1:1", "gp_x", "", "", ""))
        click.echo(type(door(None)).__name__)

    assert CliRunner().invoke(command).output == "RemoteDoor\n"
