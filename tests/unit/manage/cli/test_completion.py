from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
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


# words -> the first and the last completion, and how many
FIELDS = [
    (["connector", "set", "bank", "tls_d"], ["tls_domain="]),
    (["connector", "set", "bank", "mode=re"], ["mode=rehearse"]),
    (["connector", "set", "bank", "mode", "=", "re"], ["rehearse"]),
    (["connector", "set", "bank", "mode", "="], ["enforce", "rehearse"]),
    (["connector", "set", "bank", "mode", "=", "rehearse", "enab"], ["enabled="]),
    (["connector", "set", "bank", "mode=rehearse", "enabled="], ["enabled=true", "enabled=false"]),
    (["connector", "set", "bank", "tls_domain="], []),
    (["connector", "set", "bank", "nonsense="], []),
    (["connector", "set", "bank", "require_t"], []),
    (["connector", "set", "branch", "require_t"], ["require_tls="]),
    (["connector", "set", "branch", "smart_h"], []),
    (["connector", "set", "new", "smart_h"], ["smart_host_order=", "smart_hosts="]),
    (["connector", "add", "inbound", "x", "smart_h"], []),
    (["connector", "add", "outbound", "x", "authentication.u"], ["authentication.username="]),
    (["--server", "https://127.0.0.1:1", "connector", "set", "bank", "mode=e"], ["mode=enforce"]),
    (["domain", "set", "contoso.example", "type="], ["type=authoritative", "type=internal-relay"]),
    (["organization", "set", "contoso", "display"], ["display_name="]),
    (["organization", "set", "contoso", "outbound_c"], []),
    (["mailbox", "set", "ann@contoso.example", "deliv"], ["deliver_to_mailbox_and_forward=", "delivery="]),
]


@pytest.mark.parametrize(("words", "found"), FIELDS)
def test_fields_and_the_values_that_they_may_have(complete, words, found):
    assert complete(*words) == found


def test_every_set_and_add_of_a_resource_completes_its_fields(complete):
    groups = {
        name: group
        for name in main.list_commands(None)
        if isinstance(group := main.get_command(None, name), click.Group)
    }
    with_words = {
        (name, verb)
        for name, group in groups.items()
        for verb in group.list_commands(None)
        if any(parameter.name == "words" for parameter in group.get_command(None, verb).params)
    }
    assert len(with_words) >= 14
    for name, verb in with_words:
        before = ["inbound", "x"] if (name, verb) == ("connector", "add") else ["x"]
        assert complete(name, verb, *before, ""), (name, verb)


def test_bash_completes_a_value_and_leaves_no_space_after_a_key(tmp_path):
    """In a real bash, which splits a word at "=" for `complete`."""

    def completed(*words):
        call = f"COMP_WORDS=(gatepost {' '.join(words)}); COMP_CWORD={len(words)}; _gatepost_completion gatepost"
        text = f'{script("bash", main)}\ncompopt() {{ echo "$2"; }}\n{call}; printf "%s\\n" "${{COMPREPLY[@]}}"'
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        run = subprocess.run(["bash"], input=text, text=True, check=True, capture_output=True, env=environment)
        assert run.stderr == ""
        return run.stdout.split("\n")[:-1]

    assert completed("domain", "set", "x", "type", "=") == ["authoritative", "internal-relay"]
    assert completed("domain", "set", "x", "mta_sts_max") == ["nospace", "mta_sts_max_age="]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell(shell, capsys):
    main(["completion", shell], standalone_mode=False)
    assert capsys.readouterr().out.rstrip() == script(shell, main).rstrip()
    assert f"_GATEPOST_COMPLETE={shell}_complete" in script(shell, main)


def test_bash_takes_the_script():
    subprocess.run(["bash", "-n"], input=script("bash", main), text=True, check=True)
