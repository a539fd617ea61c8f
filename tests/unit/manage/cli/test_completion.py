from __future__ import annotations

import subprocess

import pytest
from click.shell_completion import ShellComplete

from gatepost.manage.cli import main
from gatepost.manage.cli.completion import SHELLS, script

RESOURCES = """
[organization.contoso]
display_name = "Contoso"
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.mailbox]]
address = "ann@contoso.example"
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
[[organization.contoso.outbound_connector]]
name = "Insurer of us"
recipient_domains = ["insurer.example"]
[[organization.contoso.inbound_connector]]
name = "branch"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.1/32"]
"""


@pytest.fixture
def complete(tmp_path, monkeypatch, capfd):
    config = tmp_path / "gatepost.toml"
    config.write_text(f'[server]\nhostname = "mx1.contoso.example"\ndata_dir = "{tmp_path / "data"}"\n')
    monkeypatch.setenv("GATEPOST_CONFIG", str(config))
    (tmp_path / "r.toml").write_text(RESOURCES)
    main(["apply", "--file", str(tmp_path / "r.toml")], standalone_mode=False)
    capfd.readouterr()

    def completed(*words):
        *before, last = words
        found = ShellComplete(main, {}, "gatepost", "_GATEPOST_COMPLETE").get_completions(before, last)
        assert capfd.readouterr() == ("", "")
        return [item.value for item in found]

    return completed


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["connector", "validate", ""], ["Insurer of us", "bank", "branch"]),
        (["connector", "validate", "b"], ["bank", "branch"]),
        (["connector", "set", "insu"], ["Insurer of us"]),
        (["connector", "validate", "bank", "--organization", ""], ["contoso"]),
        (["domain", "verify", "con"], ["contoso.example"]),
        (["mailbox", "remove", ""], ["ann@contoso.example"]),
        (["organization", "show", ""], ["contoso"]),
        (["connector", "trust", ""], ["Insurer of us", "bank"]),
        (["connector", "switch", "enforce", "b"], ["bank", "branch"]),
        (["trace", "search", "--connector", "b"], ["bank", "branch"]),
        (["queue", "list", "--domain", "b"], ["bank.example"]),
        (["check", "partner", ""], ["bank.example", "insurer.example"]),
        (["dkim", "rotate", ""], ["contoso.example"]),
        (["organization", "add", ""], []),
        (["--server", "https://127.0.0.1:1", "connector", "validate", ""], []),
        (["--config", "/nowhere/gatepost.toml", "connector", "validate", ""], []),
    ],
)
def test_names_that_are_stored(complete, words, names):
    assert complete(*words) == names


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell(shell, capsys):
    main(["completion", shell], standalone_mode=False)
    assert capsys.readouterr().out.rstrip() == script(shell, main).rstrip()
    assert f"_GATEPOST_COMPLETE={shell}_complete" in script(shell, main)


def test_bash_takes_the_script():
    subprocess.run(["bash", "-n"], input=script("bash", main), text=True, check=True)
