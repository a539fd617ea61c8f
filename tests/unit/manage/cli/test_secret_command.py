from __future__ import annotations

import pytest

RESOURCES = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.outbound_connector]]
name = "relay"
recipient_domains = ["*"]
smart_hosts = ["relay.example"]
tls_settings = "domain-validation"
tls_domain = "relay.example"
[organization.contoso.outbound_connector.authentication]
username = "contoso"
"""


@pytest.fixture
def relay(home):
    key = home.path / "master.key"
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    home.settings(store={"master_key": f"file:{key}"})
    home.call("apply", "-f", home.write(RESOURCES))
    return home


def test_a_secret_is_set_checked_and_removed(relay):
    words = ("connector", "secret", "relay")
    assert relay.call(*words, "--check", code=1).stdout == "relay: missing\n"
    assert relay.call(*words, "--stdin", given="word\n").stderr == "relay: secret set\n"
    assert relay.call(*words, "--check").stdout == "relay: sealed\n"
    assert relay.call(*words, "--remove").stderr == "relay: secret removed\n"
    assert relay.call(*words, "--check", code=1).stdout == "relay: missing\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("connector", "secret", "relay", "--stdin", "--check"), "use only one of --stdin, --remove and --check\n"),
        (("domain", "password", "contoso.example", "--stdin", "--remove"), "use only one of --stdin, --remove and"),
        (("domain", "password", "contoso.example", "--stdin"), "logs in to no directory"),
        (("connector", "secret", "relay", "--stdin"), "empty"),
        (("connector", "secret", "none", "--stdin"), "no outbound connector 'none'"),
        (("connector", "secret", "relay"), "pass it on standard input with --stdin"),
    ],
)
def test_what_cannot_be_done_is_said(relay, words, text):
    assert text in relay.call(*words, given="\n", code=2).stderr
