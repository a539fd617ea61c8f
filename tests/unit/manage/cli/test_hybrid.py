from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gatepost.pki.certificates.authority import Authority

HOST = ("--exchange-host", "ex1.contoso.example")
RESOURCES = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.accepted_domain]]
name = "*.branch.example"
type = "internal-relay"
[[organization.contoso.mailbox]]
address = "o'brien@contoso.example"
"""


def certificate(home, authority, name, stem):
    chain_pem, key_pem = authority.issue([name])
    chain, key = home.path / f"{stem}.pem", home.path / f"{stem}.key"
    chain.write_bytes(chain_pem)
    key.touch(0o600)
    key.write_bytes(key_pem)
    return chain, key


@pytest.fixture
def stored(home):
    """A gateway with a certificate and an organization, and no Exchange yet."""
    home.authority = Authority("Root")
    (home.path / "roots.pem").write_bytes(home.authority.certificate_pem)
    chain, key = certificate(home, home.authority, "mx.gate.example", "gate")
    home.settings(
        tls={"trust_anchors": str(home.path / "roots.pem")},
        certificate=[{"chain": str(chain), "key": str(key)}],
        listener=[{"role": "mx", "address": "127.0.0.1:2525"}],
    )
    home.call("apply", "-f", home.write(RESOURCES))
    return home


def missing(plan):
    return [one["subject"] for one in plan["here"] if not one["complete"]]


def test_the_commands_that_are_printed_complete_the_pair(stored):
    """All of them but the one for the certificate, of which they print how it is asked for: it comes before its use."""
    plan = stored.json("hybrid", "plan", *HOST, code=1)
    assert missing(plan) == [
        "accepted-domain contoso.example", "inbound-connector", "client-identity", "outbound-connector",
    ]  # fmt: skip
    for finding in plan["here"]:
        for command in finding["commands"]:
            if " certificate " not in command:
                stored.call(*shlex.split(command)[1:])
            elif finding["subject"] == "client-identity":
                chain, key = certificate(stored, stored.authority, "mx.gate.example", "client")
                whose = ("--client", "--organization", "contoso", "--label", "hybrid", "--current")
                stored.call("certificate", "add", chain, "--key", key, "--leave-key", *whose)
                break
    again = stored.json("hybrid", "plan", code=0)
    assert again["exchange_host"] == "ex1.contoso.example", "by now the connector says it"
    shown, _ = certificate(stored, stored.authority, "ex1.contoso.example", "exchange")
    complete = stored.json("hybrid", "plan", "contoso", "--exchange-certificate", shown, code=0)
    assert complete["complete"]
    assert "This gateway is complete." in stored.call("hybrid", "plan").stdout


def test_the_plan_on_the_page_is_what_the_command_of_the_page_prints(home):
    """Lines are folded as wide as the terminal is; a step is whole."""
    page = (Path(__file__).parents[4] / "docs/hybrid.md").read_text()
    chain, key = certificate(home, Authority("Root"), "mx1.contoso.example", "gate")
    home.settings(
        server={"hostname": "mx1.contoso.example"}, certificate=[{"chain": str(chain), "key": str(key)}],
        listener=[{"role": "mx", "address": "127.0.0.1:2525"}],
    )  # fmt: skip
    own = RESOURCES.replace("o'brien", "ann").partition('[[organization.contoso.accepted_domain]]\nname = "*.branch')[0]
    boxes = [
        f'[[organization.contoso.mailbox]]\naddress = "{name}@contoso.example"\n' for name in ("ann", "postmaster")
    ]
    home.call("apply", "-f", home.write(own + "".join(boxes)))
    command = re.search(r"gatepost (hybrid plan) \[ORGANIZATION\] (.*?) -o plan\.ps1", page, re.DOTALL)
    said = home.call(*command[1].split(), *command[2].replace("\\\n", " ").split(), code=1).stdout
    blocks = re.findall(r"^    \S.*(?:\n    .*|\n(?=\n))*", page, re.MULTILINE)
    steps = [block for block in blocks if "This gateway\n" in block or "Exchange (Exchange Management Shell" in block]
    assert len(steps) == 2
    assert [block for block in steps if " ".join(block.split()) not in " ".join(said.split())] == []


def test_what_was_requested_is_not_asked_for_again(stored):
    plan = stored.json("hybrid", "plan", *HOST, code=1)
    (identity,) = [one for one in plan["here"] if one["subject"] == "client-identity"]
    csr = stored.path / "client.csr"
    words = [str(csr) if word == "client.csr" else word for word in shlex.split(identity["commands"][0])[1:]]
    stored.call(*words)
    again = stored.json("hybrid", "plan", *HOST, code=1)
    (identity,) = [one for one in again["here"] if one["subject"] == "client-identity"]
    assert identity["commands"] == ["gatepost certificate add ISSUED.pem --current"]


def test_a_person_is_told_what_is_missing_and_what_to_type(stored):
    text = stored.call("hybrid", "plan", *HOST, "--gateway-address", "192.0.2.10", code=1).stdout
    assert "\n  ok      mx.gate.example listens" in text
    assert "\n  MISSING no inbound connector knows Exchange" in text
    assert "\n      gatepost domain set contoso.example type=internal-relay\n" in text
    assert "\n          -RemoteIPRanges '192.0.2.10' " in text
    assert "accepted domain *.branch.example of contoso: the gateway accepts and forwards mail" in text.replace(
        "\n     ", " "
    )
    assert text.endswith("Missing on this gateway: 4.\n")


def test_the_other_sides_script_is_written(stored, tmp_path):
    file = tmp_path / "plan.ps1"
    said = stored.call(
        "hybrid", "plan", *HOST, "--routing-domain", "gate.contoso.example", "--centralised", "-o", file, code=1
    )
    assert f"wrote the steps for Exchange to {file}" in said.stderr
    assert "route_all_messages_via_on_premises=true" in said.stdout
    content = file.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf# Exchange's side")
    assert content.count(b"\n") == content.count(b"\r\n")
    assert b"-PrimarySmtpAddress 'o''brien@contoso.example' -ExternalEmailAddress 'o''brien@gate." in content
    assert stored.call("hybrid", "plan", *HOST, "-o", "/nowhere/plan.ps1", code=3).stdout == ""


WRONG = {
    "which host": ([], "--exchange-host ex1.contoso.example"),
    "no such organization": (["fabrikam", *HOST], "there is no organization 'fabrikam'"),
    "no host": (["--exchange-host", "*.a.example"], "--exchange-host: '*.a.example' has a wildcard"),
    "no domain": ([*HOST, "--domain", "[192.0.2.1]"], "--domain: "),
    "no routing domain": ([*HOST, "--routing-domain", "a b"], "--routing-domain: "),
    "no address": ([*HOST, "--gateway-address", "mx"], "--gateway-address: 'mx' is not an IP address"),
    "no certificate": ([*HOST, "--exchange-certificate", "/dev/null"], "it contains no certificate"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_refused_with_what_to_write(stored, name):
    words, why = WRONG[name]
    said = stored.call("hybrid", "plan", *words, code=2)
    assert why in said.stderr
    assert said.stdout == ""


def test_which_organization_is_said_where_there_are_several(stored, home):
    second = RESOURCES.replace("contoso", "fabrikam").replace("branch", "other")
    home.call("apply", "-f", home.write(second))
    assert "name the organization, one of: contoso, fabrikam" in home.call("hybrid", "plan", *HOST, code=2).stderr
    plan = home.json("hybrid", "plan", "fabrikam", *HOST, code=1)
    assert [one["subject"] for one in plan["here"]][2] == "accepted-domain fabrikam.example"
    named = home.json(
        "hybrid", "plan", "fabrikam", *HOST, "--domain", "Fabrikam.example", "--domain", "x.example", code=1
    )
    assert [one["subject"] for one in named["here"]][2:4] == [
        "accepted-domain fabrikam.example", "accepted-domain x.example",
    ]  # fmt: skip


def test_without_an_organization_there_is_nothing_to_plan(home):
    assert "no organization is stored yet" in home.call("hybrid", "plan", *HOST, code=2).stderr
