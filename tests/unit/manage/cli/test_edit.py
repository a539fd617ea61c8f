"""What all changes of single resources share: they are checked as a whole, and none is lost."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from gatepost.store.changes import ConfigStore

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "postmaster@contoso.example" }]
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
[[organization.contoso.outbound_connector]]
name = "lab"
recipient_domains = ["lab.example"]
tls_settings = "domain-validation"
"""


@pytest.fixture
def base(home):
    home.call("apply", "-f", home.write(BASE))
    return home


def test_changes_at_the_same_time_are_all_made(base):
    def add(number):
        words = ["--config", str(base.file), "connector", "set", "bank", f"recipient_domains+=d{number}.example"]
        subprocess.run([sys.executable, "-m", "gatepost", *words], check=True, capture_output=True)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add, range(3)))
    version, document = base.config()
    assert version == 4
    domains = document["organization"]["contoso"]["outbound_connector"][0]["recipient_domains"]
    assert sorted(domains) == ["bank.example", "d0.example", "d1.example", "d2.example"]


TRAP = "warning: outbound connector 'lab' of contoso: without tls_domain the certificate must have "
WARNED = {
    "connector set lab comment=x": TRAP,
    "connector set bank comment=x": "",
    "connector set bank comment=x tls_settings=domain-validation": TRAP.replace("lab", "bank"),
    "connector set lab tls_domain=lab.example": "",
    "mailbox remove postmaster@contoso.example": "warning: accepted domain contoso.example of contoso: ",
    "mailbox add ann@contoso.example": "",
}


@pytest.mark.parametrize("command", WARNED)
def test_traps_of_what_changed_are_warned_of_and_others_are_not(base, command):
    base.call("domain", "add", "calm.example")
    if command.startswith("mailbox remove"):
        base.call("mailbox", "add", "ann@contoso.example")
    for more in ("--dry-run", "--json"):
        said = base.call(*command.split(), more).stderr
        assert said.startswith(WARNED[command])
        assert said.count("\n") == bool(WARNED[command])


def test_traps_of_other_organizations_with_the_same_names_are_not_warned_of(base):
    for name in ("contoso2", "my-contoso"):
        base.call("organization", "add", name)
        words = ["recipient_domains=l.test", "tls_settings=domain-validation", f"--organization={name}"]
        base.call("connector", "add", "outbound", "lab", *words)
    said = base.call("connector", "set", "lab", "--organization", "contoso", "comment=x").stderr
    assert (said.startswith(TRAP), said.count("\n")) == (True, 1)


def test_a_dry_run_says_what_the_change_would_do(base):
    lines = base.call("connector", "set", "bank", "tls_settings=encryption-only", "--dry-run").stdout.splitlines()
    assert lines[2:4] == [
        "changes outbound connector 'bank' of contoso (tls_settings)",
        "touches recipients: bank.example",
    ]
    found = base.json("connector", "set", "bank", "comment=x", "--dry-run", "--since", "1h")
    assert found["dry_run"] is True
    assert found["blast_radius"]["outbound"] == {"messages": 0, "different": 0}
    assert base.config()[0] == 1


def test_a_configuration_that_cannot_be_read_is_not_known(home):
    file = home.write(BASE)
    home.settings(server={"hostname": "mx.gate.example", "data_dir": str(file / "below")})
    for words in (["domain", "remove", "x.example"], ["domain", "list"], ["history"]):
        result = home.call(*words, code=3)
        assert str(file) in result.stderr
        assert result.stdout == ""


def test_resources_of_another_version_are_not_touched(home):
    store = ConfigStore(home.data / "config.db")
    store.apply({"organization": {"contoso": {"field_of_the_future": 1}}}, author="a newer gatepost")
    store.close()
    said = home.call("domain", "add", "contoso.example", code=3).stderr
    assert "the stored resources cannot be used by this version: organization.contoso.field_of_the_future: " in said
    assert home.config()[0] == 1
