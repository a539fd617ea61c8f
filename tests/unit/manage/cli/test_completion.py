from __future__ import annotations

import subprocess

import click
import pytest
from click.shell_completion import ShellComplete

from gatepost.manage.cli import main
from gatepost.manage.cli.completion import SHELLS, quoted, read_line, script

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
    (["connector", "set", "bank", "mode=rehearse", "enab"], ["enabled="]),
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


BREAKS = " \t\n\"'@><=;|&(:"  # of a bash that nobody has changed

# a line up to the cursor -> words, the one that is typed, the quote that is open, and how much of it stays
TYPED = [
    ("gatepost conn", ["gatepost"], "conn", "", 0),
    ("gatepost connector ", ["gatepost", "connector"], "", "", 0),
    ("gatepost  set mode=re", ["gatepost", "set"], "mode=re", "", 5),
    ("gatepost set mode=", ["gatepost", "set"], "mode=", "", 5),
    ("gatepost set mode=re x", ["gatepost", "set", "mode=re"], "x", "", 0),
    ("gatepost show ann@con", ["gatepost", "show"], "ann@con", "", 3),
    ("gatepost show a:b:c", ["gatepost", "show"], "a:b:c", "", 4),
    (r"gatepost show Insurer\ o", ["gatepost", "show"], "Insurer o", "", 0),
    ('gatepost show "Insurer o', ["gatepost", "show"], "Insurer o", '"', 0),
    ("gatepost show 'Insurer=o", ["gatepost", "show"], "Insurer=o", "'", 0),
    (r'gatepost show "a\"b\c', ["gatepost", "show"], r'a"b\c', '"', 0),
    ("gatepost show 'a b' x", ["gatepost", "show", "a b"], "x", "", 0),
    ("gatepost show '' x", ["gatepost", "show", ""], "x", "", 0),
    ('gatepost set comment="a b', ["gatepost", "set"], "comment=a b", '"', 8),
    ("gatepost show a\\", ["gatepost", "show"], "a", "", 0),
]


@pytest.mark.parametrize("typed", TYPED, ids=[typed[0] for typed in TYPED])
def test_a_line_is_read_as_bash_reads_it(typed):
    assert read_line(typed[0], BREAKS) == tuple(typed[1:])


NAMES = [
    "Insurer of us",
    "$(exit 9) `exit 9`",
    "'q' \"d\" \\",
    "a;b|c&d>e<f",
    "~ *?[a] {b,c} #x !y",
    "åäö",
    "a=b,c:d@e",
    "-x",
]


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_bash_reads_what_is_quoted_as_it_is(quote):
    words = " ".join(f"{quote}{quoted(name, quote)}{quote}" for name in NAMES)
    run = subprocess.run(["bash", "-c", f"printf '%s\\n' {words}"], text=True, check=True, capture_output=True, cwd="/")
    assert run.stdout.splitlines() == NAMES


def test_a_name_in_double_quotes_is_no_word_of_the_history():
    assert quoted("a!b", '"') == "a\"'!'\"b"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell(shell, capsys):
    main(["completion", shell], standalone_mode=False)
    assert capsys.readouterr().out.rstrip() == script(shell, main).rstrip()
    assert f"_GATEPOST_COMPLETE={shell}_complete" in script(shell, main)


def test_bash_takes_the_script():
    subprocess.run(["bash", "-n"], input=script("bash", main), text=True, check=True)
