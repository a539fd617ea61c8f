"""Reports of imports, hybrid plans and validations are in the language of the terminal; what programs read is not."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from gatepost.manage.cli import main

LANGUAGES = {"sv": "sv_SE.UTF-8", "de": "de_DE.UTF-8"}
# Words that hold English sentences together, and that are no words of the other languages.
ENGLISH = re.compile(r"\b(the|is|are|which|and|with|not|that|this|from|of|cannot|there|been|must|would|goes|by)\b")
# Names of connectors, what the machine says, and commands that are to be copied.
DATA = re.compile(
    r"'[^']*'|\"[^\"]*\"|\S*/\S+|No such file or directory|\[\[[^]]*\]\]|basis certificate|SEND with authenticated"
)
MAIN_CF = """
myhostname = mx.old.example
relay_domains = a.example, b.example, texthash:/etc/postfix/relay
mynetworks = 10.0.0.0/8, 192.0.2.1, fe80::/10, relayhost.example
mynetworks = 10.0.0.0/8, 192.0.2.1, fe80::/10, relayhost.example
transport_maps = texthash:/etc/postfix/transport, regexp:/etc/postfix/patterns
smtp_tls_policy_maps = texthash:/etc/postfix/policy
smtp_tls_security_level = may
maximal_queue_lifetime = 0
message_size_limit = 10240000
smtpd_upstream_proxy_protocol = haproxy
smtpd_tls_cert_file = /etc/ssl/mx.pem
smtpd_tls_mandatory_protocols = >=TLSv1
virtual_alias_maps = texthash:/etc/postfix/aliases
canonical_maps = texthash:/etc/postfix/canonical
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_milters = inet:127.0.0.1:11332
header_checks = regexp:/etc/postfix/checks
postscreen_dnsbl_sites = list.example
relay_clientcerts = texthash:/etc/postfix/certs
always_bcc = archive
no_such_parameter = 1
"""
TABLES = {
    "transport": "a.example smtp:[10.0.0.1]:25\nb.example discard:\nc.example retry:\n.d.example smtp:mx.d.example\n",
    "policy": "a.example fingerprint match=aa:bb\nb.example verify match=hostname\nc.example dane-only\n"
    "e.example secure protocols=>=TLSv1.3 ciphers=high\nf.example nonsense\n",
}
EXCHANGE = (
    {
        "Name": "bank in",
        "ConnectorType": "Partner",
        "SenderDomains": ["smtp:bank.example;5"],
        "EFUsers": ["a@b.example"],
    },
    {"Name": "own in", "ConnectorType": "OnPremises", "SenderIPAddresses": ["192.0.2.1"], "RequireTls": True},
    {
        "Name": "bank out",
        "ConnectorType": "Partner",
        "RecipientDomains": ["bank.example"],
        "SmartHosts": ["[192.0.2.1]", "mx.bank.example"],
        "UseMXRecord": False,
        "TlsSettings": "DomainValidation",
        "SmtpDaneMode": "Mandatory",
    },
    {"Name": "no type", "RecipientDomains": ["x.example"]},
    {"DomainName": "contoso.com", "DomainType": "ExternalRelay", "Default": True},
    {"DomainName": "fabrikam.com", "MatchSubDomains": True, "CatchAllRecipientID": "x"},
)
RESOURCES = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.mailbox]]
address = "ann@contoso.example"
"""


@pytest.fixture(params=LANGUAGES)
def speak(request, monkeypatch):
    """Run a command in a language."""
    for name in ("LC_MESSAGES", "LANG", "LANGUAGE"):
        monkeypatch.delenv(name, raising=False)

    def run(*words, code=None, language=LANGUAGES[request.param]):
        monkeypatch.setenv("LC_ALL", language)
        result = CliRunner().invoke(main, [*map(str, words)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        assert code is None or result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def postfix(tmp_path):
    (tmp_path / "main.cf").write_text(MAIN_CF)
    (tmp_path / "master.cf").write_text("x inet n - n - - smtpd\n  -o smtpd_tls_security_level=encrypt\n")
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def exchange(tmp_path):
    file = tmp_path / "exchange.json"
    file.write_text(json.dumps(EXCHANGE))
    return file


def english(text):
    """Lines with a sentence in English."""
    return [line for line in text.splitlines() if ENGLISH.search(DATA.sub("", line))]


def test_the_report_of_an_import_from_postfix(speak, postfix):
    result = speak("import", "postfix", postfix, code=1)
    assert len(result.stderr.splitlines()) > 30
    assert english(result.stderr) == []
    plain = speak("import", "postfix", postfix, "--json", code=1).stdout
    assert plain == speak("import", "postfix", postfix, "--json", code=1, language="C").stdout


def test_the_report_of_an_import_from_exchange(speak, exchange):
    result = speak("import", "exchange", exchange, code=1)
    assert len(result.stderr.splitlines()) > 15
    assert english(result.stderr) == []
    assert result.stdout == speak("import", "exchange", exchange, code=1, language="C").stdout, "a file is English"


def test_what_is_no_configuration(speak, tmp_path):
    (tmp_path / "main.cf").write_text("relay_domains = $relay_domains\n")
    assert english(speak("import", "postfix", tmp_path, code=2).output) == []
    file = tmp_path / "x.json"
    for content in ("[1,", "", "[]", '[{"Name": "x", "ConnectorType": "Nonsense"}]'):
        file.write_text(content)
        said = speak("import", "exchange", file, code=2).output.replace("Illegal trailing comma before end of", "")
        assert english(said) == []


def test_a_hybrid_plan(speak, home):
    home.fill()
    home.call("apply", "-f", home.write(RESOURCES))
    words = (
        "--config",
        home.file,
        "hybrid",
        "plan",
        "--exchange-host",
        "ex1.contoso.example",
        "--routing-domain",
        "r.example",
    )
    lines = [line for line in speak(*words, code=1).stdout.splitlines() if not line.startswith("      ")]
    assert len(lines) > 25
    assert english("\n".join(lines)) == []


def test_a_value_of_another_type_than_an_option_has(speak):
    """click's own words, too."""
    for words in (("queue", "list", "--limit", "many"), ("history", "show", "x"), ("queue", "list", "--nonsense")):
        said = speak(*words, code=2).output
        assert english(said) == []
        assert "integer" not in said
