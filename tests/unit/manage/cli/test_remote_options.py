from __future__ import annotations

import pytest
from click.testing import CliRunner

from gatepost.manage.cli import main
from gatepost.manage.cli.remote_options import RemoteServer, only_here

NOWHERE = "https://127.0.0.1:1"


def call(*words, **environment):
    return CliRunner().invoke(main, words, env={"GATEPOST_CONFIG": None} | environment)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("serve",), "it runs the gateway itself"),
        (("certificate", "add", "--directory", "/x"), "name files of that machine"),
        (("certificate", "add", "x.pem", "--leave-key"), "name files of that machine"),
        (("user", "setup"), "until there is an owner"),
        (("site", "status"), "authority's key"),
        (("report", "send"), "sends its reports"),
        (("evidence", "verify"), "reads the whole log"),
    ],
)
def test_what_works_on_the_machine_only(words, why):
    found = call(*words, GATEPOST_SERVER=NOWHERE, GATEPOST_TOKEN="gp_x")
    assert found.exit_code == 2
    assert "works only on the gateway's own machine" in found.stderr
    assert why in found.stderr


@pytest.mark.parametrize("option", ["--token", "--token-file", "--ca", "--fingerprint"])
def test_options_that_go_with_a_server(option):
    found = call(option, "x", "queue", "list")
    assert found.exit_code == 2
    assert f"{option} needs --server" in found.stderr


def test_variables_without_a_server_are_no_error(tmp_path):
    file = tmp_path / "gatepost.toml"
    file.write_text(f'[server]\nhostname = "mx.example"\ndata_dir = "{tmp_path}/data"\n', encoding="utf-8")
    assert call("--config", str(file), "queue", "list", GATEPOST_TOKEN="gp_x").exit_code == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--server", NOWHERE), 2, "needs an API token"),
        (("--server", "http://gate.example", "--token", "gp_x"), 2, "must begin with https://"),
        (("--server", NOWHERE, "--token", "gp_x"), 3, "cannot be reached"),
    ],
)
def test_a_server_that_cannot_be_asked(words, code, text):
    found = call(*words, "queue", "list")
    assert (found.exit_code, found.stdout) == (code, "")
    assert text in found.stderr


def test_what_needs_no_gateway_needs_none():
    assert call("tls", "profiles", GATEPOST_SERVER=NOWHERE).exit_code == 0


def test_a_server_as_an_address():
    found = RemoteServer("https://gate.example", "gp_x", "", "ca.pem", "").address()
    assert (found.port, found.ca) == (443, "ca.pem")
    assert only_here.__doc__
