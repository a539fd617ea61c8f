from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.hybrid.exchange import comment, listed, quoted, script, steps


def lines(pair) -> str:
    return "\n".join(line for step in steps(pair) for line in step.lines)


def test_the_two_connectors(given):
    """What the hybrid wizard makes of them (exchange.md section 9.4), with the gateway in the service's place."""
    text = lines(given(addresses=["192.0.2.10", "2001:db8::10"]))
    for words in (
        "New-SendConnector -Name 'To gatepost' -AddressSpaces 'SMTP:*;1'",
        "-SmartHosts 'mx1.contoso.example'",
        "-RequireTLS $true -TlsAuthLevel DomainValidation -TlsDomain 'mx1.contoso.example'",
        "-TlsCertificateName $tlsCertificateName -CloudServicesMailEnabled $true",
        '$tlsCertificateName = "<I>$($certificate.Issuer)<S>$($certificate.Subject)"',
        "-RemoteIPRanges '192.0.2.10', '2001:db8::10' -Fqdn 'ex1.contoso.example'",
        "-AuthMechanism Tls -PermissionGroups AnonymousUsers -RequireTLS $true",
        "-TlsDomainCapabilities 'mx1.contoso.example:AcceptCloudServicesMail'",
        "$certificate = Get-ExchangeCertificate -Thumbprint $imported.Thumbprint",
    ):
        assert words in text
    assert "ADDRESS-OF-THE-GATEWAY" in lines(given())


def test_a_certificate_that_was_shown_is_found_by_its_thumbprint(given, chain):
    shown = chain("ex1.contoso.example")
    assert f"-Thumbprint '{shown.leaf.sha1.upper()}'" in lines(given(exchange=shown))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "mx1.contoso.example"),
        ({"clients": {}}, "mx1.contoso.example"),
        ({"outbound": None}, "mx1.contoso.example"),
        ({"outbound": {"client_certificate": None}}, "mx1.contoso.example"),
    ],
)
def test_exchange_knows_the_gateway_by_its_certificate(given, fields, name):
    assert f"-TlsDomainCapabilities '{name}:AcceptCloudServicesMail'" in lines(given(**fields))


def test_whatever_name_that_bears(given, leaf):
    other = leaf("client.contoso.example", "more.contoso.example")
    assert "'client.contoso.example:Accept" in lines(given(clients={"hybrid": other}))
    files = {"client_certificate": {"chain": "/a.pem", "key": "/a.key"}}
    assert "'client.contoso.example:Accept" in lines(given(outbound=files, files={"to hq": other}))
    assert "'mx1.contoso.example:Accept" in lines(given(clients={"hybrid": leaf()}))


def test_domains_that_both_serve(given):
    text = lines(given())
    assert "Set-AcceptedDomain -Identity 'contoso.example' -DomainType InternalRelay" in text
    assert "# For mail to mailboxes on the gateway alone: -AddressSpaces 'SMTP:contoso.example;1'" in text
    assert "# Set-RemoteDomain 'gatepost contoso.example' -TrustedMailInboundEnabled $true" in text


def test_mailboxes_of_the_gateway_are_mail_users_there(given):
    boxes = [{"address": f"o'brien{number}@contoso.example"} for number in range(22)]
    text = lines(given(mailboxes=boxes, routing_domain="gate.example"))
    assert (
        "New-MailUser -Name 'o''brien0' -PrimarySmtpAddress 'o''brien0@contoso.example' -ExternalEmailAddress "
        "'o''brien0@gate.example'"
    ) in text
    assert "InternalRelay" not in text
    assert text.count("New-MailUser") == 20
    assert "# … and 2 more of the same" in text
    assert "more of the same" not in lines(given(mailboxes=boxes[:2], routing_domain="gate.example"))


def test_without_a_domain_there_is_less_to_do(given):
    text = lines(given(accepted=[], domains=[], inbound={"tls_sender_certificate_name": "ex1.contoso.example"}))
    assert "RemoteDomain" not in text
    assert "-AddressSpaces 'SMTP:DOMAIN;1'" in text


def test_the_script_is_the_steps_with_comments_between(given):
    text = script(given())
    assert all(line.endswith("\r") for line in text.split("\n")[:-1])
    numbered = [line for line in text.splitlines() if line.startswith(("# 1.", "# 2.", "# 3.", "# 4.", "# 5."))]
    assert [line[5:] for line in numbered] == [step.title for step in steps(given())]
    commands = [line for line in text.splitlines() if line and line not in numbered]
    assert commands[2:] == lines(given()).splitlines(), "behind two lines of introduction"


QUOTES = "'\u2018\u2019\u201a\u201b"


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("", "''"),
        ("contoso.example", "'contoso.example'"),
        ("O'Brien", "'O''Brien'"),
        ("a'; Remove-Item C:\\ -Recurse #", "'a''; Remove-Item C:\\ -Recurse #'"),
        ("$(calc) `n $env:x", "'$(calc) `n $env:x'"),
        ("\u2019; calc", "'\u2019\u2019; calc'"),
        ("a\r\nb\x00\u2028c", "'a??b??c'"),
    ],
)
def test_a_verbatim_string(text: str, literal: str) -> None:
    assert quoted(text) == literal


@given(st.text())
def test_nothing_gets_out_of_its_quotes(text: str) -> None:
    """As PowerShell reads a verbatim string: any two of its quotes stand for one, a single one ends it."""
    inner = quoted(text)[1:-1]
    at = 0
    while at < len(inner):
        if inner[at] in QUOTES:
            assert inner[at + 1] in QUOTES
            at += 1
        at += 1
    assert inner.isprintable()


def test_lists_and_comments() -> None:
    assert listed(["a", "b'c"]) == "'a', 'b''c'"
    assert comment("one\nRemove-Item x") == "# one?Remove-Item x"
