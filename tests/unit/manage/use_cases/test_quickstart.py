"""The first settings and resources are such as the gateway takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomlkit

from gatepost.manage.use_cases.quickstart import (
    MAILBOXES,
    QuickstartAnswers,
    dmarc_line,
    first_resources,
    first_settings,
    own_servers,
)
from gatepost.policy.connectors.lint import warnings
from gatepost.policy.connectors.model import parse
from gatepost.settings.loader import load


def answers(**given):
    usual = {
        "hostname": "mx1.contoso.example",
        "domains": ("contoso.example", "contoso.test"),
        "upstream": "192.0.2.10",
        "directory": Path("/etc/gatepost"),
        "data_dir": Path("/var/lib/gatepost"),
        "certificate": (Path("/etc/gatepost/mx.pem"), Path("/etc/gatepost/secrets/mx.key")),
    }
    return QuickstartAnswers(**usual | given)


@pytest.mark.parametrize(
    "given",
    [{}, {"nameservers": ("192.0.2.53",)}, {"acme": True}, {"user": "gatepost"}, {"upstream": MAILBOXES}],
    ids=str,
)
def test_what_is_written_can_be_used(tmp_path, given):
    file = tmp_path / "gatepost.toml"
    file.write_text(tomlkit.dumps(first_settings(answers(**given))), encoding="utf-8")
    settings = load(str(file), {})
    assert settings.server.hostname == "mx1.contoso.example"
    assert settings.acme.is_on == given.get("acme", False)
    resources = parse(first_resources(answers(**given)))
    assert [one.name for one in resources.organizations[0].accepted_domains] == ["contoso.example", "contoso.test"]
    assert list(warnings(resources)) == []


def test_mail_goes_to_the_server_behind_or_to_mailboxes():
    (relaying,) = parse(first_resources(answers(upstream="mail.contoso.example:2525"))).organizations
    assert relaying.outbound_connectors[0].smart_hosts[0].host == "mail.contoso.example"
    assert relaying.inbound_connectors == ()
    (keeping,) = parse(first_resources(answers(upstream=MAILBOXES))).organizations
    assert [one.address for one in keeping.mailboxes] == ["postmaster@contoso.example", "postmaster@contoso.test"]


@pytest.mark.parametrize(
    ("upstream", "given", "expected"),
    [
        ("192.0.2.10:25", (), ("192.0.2.10",)),
        ("[2001:db8::1]:25", ("192.0.2.1",), ("192.0.2.1", "2001:db8::1")),
        ("mail.contoso.example", ("192.0.2.1",), ("192.0.2.1",)),
        (MAILBOXES, ("192.0.2.1",), ("192.0.2.1",)),
        ("192.0.2.10", ("192.0.2.10",), ("192.0.2.10",)),
    ],
)
def test_the_server_behind_may_send_if_its_address_is_known(upstream, given, expected):
    assert own_servers(answers(upstream=upstream, own_servers=given)) == expected


def test_dmarc_begins_with_reports():
    assert dmarc_line("a.example") == '_dmarc.a.example. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@a.example"'
