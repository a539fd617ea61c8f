from __future__ import annotations

import json
import locale
import os
import tomllib

import pytest
from click.testing import CliRunner

from gatepost.manage.cli import imports, main
from gatepost.policy.connectors.model import parse

INBOUND = {
    "Name": "bank in",
    "ConnectorType": "Partner",
    "SenderDomains": ["smtp:bank.example;1"],
    "RequireTls": True,
}
OUTBOUND = {
    "Name": "bank out",
    "ConnectorType": "Partner",
    "RecipientDomains": ["bank.example"],
    "SmartHosts": ["[192.0.2.1]"],
    "UseMXRecord": False,
    "TlsSettings": "EncryptionOnly",
}
DOMAIN = {"DomainName": "contoso.com", "DomainType": "InternalRelay", "Default": True}


def call(*words, code=0, stdin=None):
    result = CliRunner().invoke(main, ["import", *map(str, words)], input=stdin)
    failed = result.exception if not isinstance(result.exception, SystemExit) else None
    assert failed is None, result.exc_info
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def dump(tmp_path):
    def write(*objects, name="exchange.json"):
        file = tmp_path / name
        file.write_text(json.dumps(list(objects)), encoding="utf-8")
        return file

    return write


def test_everything_is_carried_over(dump):
    result = call("exchange", dump(INBOUND, OUTBOUND, DOMAIN))
    assert result.stdout == (
        "[organization.contoso]\n"
        "\n"
        "[[organization.contoso.accepted_domain]]\n"
        'name = "contoso.com"\n'
        'type = "internal-relay"\n'
        "\n"
        "[[organization.contoso.inbound_connector]]\n"
        'name = "bank in"\n'
        'connector_type = "partner"\n'
        'sender_domains = ["bank.example"]\n'
        "require_tls = true\n"
        "restrict_domains_to_certificate = false\n"
        "restrict_domains_to_ip_addresses = false\n"
        "\n"
        "[[organization.contoso.outbound_connector]]\n"
        'name = "bank out"\n'
        'connector_type = "partner"\n'
        'recipient_domains = ["bank.example"]\n'
        'smart_hosts = ["[192.0.2.1]"]\n'
        "use_mx_record = false\n"
        'tls_settings = "encryption-only"\n'
    )
    assert result.stderr.splitlines() == [
        "accepted domain 'contoso.com': carried over",
        "inbound connector 'bank in': carried over",
        "outbound connector 'bank out': carried over",
        "organization contoso: 3 converted, 0 with differences, 0 not converted",
    ]


def test_what_differs_and_what_is_lost(dump):
    result = call(
        "exchange",
        dump(
            INBOUND | {"EFUsers": ["ann@own.example"]},
            OUTBOUND | {"TlsSettings": "DomainValidation"},
            OUTBOUND | {"Name": "no\u202etype", "ConnectorType": None},
        ),
        "--organization",
        "own",
        code=1,
    )
    parse(tomllib.loads(result.stdout))
    lines = result.stdout.splitlines()
    place = lines.index("[[organization.own.inbound_connector]]")
    assert lines[place - 2].startswith('# not carried over: EFUsers: ["ann@own.example"]: ')
    assert "# differs: TlsDomain: it is empty" in result.stdout
    assert "# [[organization.own.outbound_connector]]" in lines
    assert '# name = "no type"' in lines
    report = result.stderr.splitlines()
    assert "inbound connector 'bank in': carried over" in report
    assert any(line.startswith("  not carried over: EFUsers: ") for line in report)
    assert any(line.startswith("outbound connector 'no type': not carried over: ConnectorType") for line in report)
    assert report[-1] == "organization own: 2 converted, 2 with differences, 2 not converted"


def test_json(dump):
    result = call("exchange", dump(INBOUND | {"EFUsers": ["ann@own.example"]}, DOMAIN), "--json", code=1)
    printed = json.loads(result.stdout)
    assert list(printed) == ["resources", "report"]
    parse(printed["resources"])
    assert printed["report"][-1] == {
        "resource": "inbound connector 'bank in'",
        "setting": "EFUsers",
        "outcome": "not carried over",
        "detail": '["ann@own.example"]: enhanced filtering holds for all recipients here; limit the connector with '
        "associated_accepted_domains",
    }
    assert result.stderr == ""


def test_several_files_and_standard_input(dump):
    result = call("exchange", dump(INBOUND), "-", stdin=json.dumps(DOMAIN).encode("utf-16"))
    assert len(tomllib.loads(result.stdout)["organization"]["contoso"]) == 2


def test_a_file_for_the_result(dump, tmp_path):
    output = tmp_path / "resources.toml"
    result = call("exchange", dump(DOMAIN), "--output", output)
    assert result.stdout == ""
    parse(tomllib.loads(output.read_text(encoding="utf-8")))
    result = call("exchange", dump(DOMAIN), "--output", tmp_path / "missing" / "x", code=3)
    assert "not written" in result.stderr
    assert result.stdout == ""


def test_bad_input_is_told_and_nothing_is_printed(dump, tmp_path, monkeypatch):
    broken = tmp_path / "broken.json"
    broken.write_text('[{"Name": "x",}]')
    cases = [
        ([broken], "line 1, column 1"),
        ([tmp_path / "gone.json"], "No such file"),
        ([tmp_path], "not a file"),
        ([dump({"Weather": "fine"}, name="weather.json")], "Get-InboundConnector"),
        ([dump(DOMAIN), "--organization", "Not Good"], "--organization"),
        ([], "FILE..."),
    ]
    for words, message in cases:
        result = call("exchange", *words, code=2)
        assert message in result.stderr
        assert result.stdout == ""
    monkeypatch.setattr(imports, "_MOST_BYTES", 1 << 20)
    large = tmp_path / "large.json"
    large.write_bytes(b" " * ((1 << 20) + 1))
    assert "larger than 1 MiB" in call("exchange", large, code=2).stderr


MAIN = """\
myhostname = mx.contoso.example
mydestination =
relay_domains = hash:/etc/postfix/relay
transport_maps = hash:$config_directory/transport
smtp_tls_security_level = may
smtp_tls_chain_files = /etc/gate.key, /etc/gate.pem
maximal_queue_lifetime = 2d
mynetworks = 192.0.2.1
"""


@pytest.fixture
def postfix(tmp_path):
    directory = tmp_path / "postfix"
    directory.mkdir()
    (directory / "main.cf").write_text(MAIN)
    (directory / "relay").write_text("hq.example OK\n")
    (directory / "transport").write_text("hq.example smtp:[hq.example]:2525\n")
    return directory


def test_a_copy_of_postfix_own_directory(postfix):
    result = call("postfix", postfix)
    document = tomllib.loads(result.stdout)
    parse(document)
    own = document["organization"]["contoso"]
    assert own["accepted_domain"] == [{"name": "*.hq.example", "type": "internal-relay"}]
    assert own["outbound_connector"][0]["smart_hosts"] == ["hq.example:2525"]
    assert own["outbound_connector"][0]["client_certificate"] == {"chain": "/etc/gate.pem", "key": "/etc/gate.key"}
    assert "not carried over:" not in result.stderr


def test_master_cf_is_read_if_it_is_there(postfix):
    (postfix / "master.cf").write_text("x inet n - n - - smtpd\n -o smtpd_tls_security_level=encrypt\n")
    assert "master.cf: x" in call("postfix", postfix, code=1).stderr


def test_tables_that_are_missing_are_told(postfix):
    (postfix / "relay").unlink()
    (postfix / "transport").write_bytes(b"\xff\xfe")
    result = call("postfix", postfix, code=1)
    assert "/etc/postfix/relay: No such file" in result.stderr
    assert "transport: byte 1 is not UTF-8" in result.stderr
    parse(tomllib.loads(result.stdout))


def test_a_table_that_is_no_file_is_not_waited_for(postfix):
    (postfix / "relay").unlink()
    os.mkfifo(postfix / "relay")
    assert "not a file" in call("postfix", postfix, code=1).stderr


def test_a_copy_has_no_file_of_this_machine_read(postfix, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden.example OK\n")
    (postfix / "main.cf").write_text(MAIN + f"relay_domains = hash:{secret}, hash:/etc/postfix/relay, /../secret\n")
    (postfix / "relay").unlink()
    (postfix / "relay").symlink_to(secret)
    result = call("postfix", postfix, code=1)
    assert f"{postfix}{secret}: No such file" in result.stderr
    assert f"relay: leads out of {postfix}" in result.stderr
    assert "hidden" not in result.stdout + result.stderr
    (postfix / "main.cf").unlink()
    (postfix / "main.cf").symlink_to(secret)
    assert "leads out of" in call("postfix", postfix, code=2).stderr


def test_a_link_in_etc_is_no_copy(postfix, tmp_path, monkeypatch):
    etc, relay = tmp_path / "etc", tmp_path / "relay"
    etc.mkdir()
    (etc / "postfix").symlink_to(postfix)
    relay.write_text("other.example OK\n")
    (postfix / "main.cf").write_text(MAIN.replace("/etc/postfix/relay", str(relay)))
    monkeypatch.setattr("gatepost.manage.cli.imports._ETC", etc)
    assert "other.example" in call("postfix", etc / "postfix").stdout
    assert "No such file" in call("postfix", etc / ".." / postfix.name, code=1).stderr


def test_other_tables_of_a_copy_are_below_it(postfix):
    (postfix / "etc" / "mail").mkdir(parents=True)
    (postfix / "etc" / "mail" / "relay").write_text("other.example OK\n")
    (postfix / "main.cf").write_text(MAIN.replace("/etc/postfix/relay", "/etc/mail/relay"))
    assert "other.example" in call("postfix", postfix).stdout


def test_no_postfix_directory(tmp_path, postfix):
    assert "No such file" in call("postfix", tmp_path, code=2).stderr
    assert "does not exist" in call("postfix", tmp_path / "gone", code=2).stderr
    (postfix / "main.cf").write_text("relay_domains = $relay_domains\n")
    assert "leads back to itself" in call("postfix", postfix, code=2).stderr
    (postfix / "main.cf").write_text("")
    assert "no parameter" in call("postfix", postfix, code=2).stderr


def test_the_result_can_be_applied_from_standard_input(dump, tmp_path):
    settings = tmp_path / "gatepost.toml"
    settings.write_text('[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n')
    resources = call("exchange", dump(INBOUND, DOMAIN)).stdout
    for text in (resources, call("exchange", dump(INBOUND, OUTBOUND, DOMAIN), "--json").stdout):
        given = text if text is resources else json.dumps(json.loads(text)["resources"])
        result = CliRunner().invoke(main, ["--config", str(settings), "apply", "-f", "-"], input=given)
        assert result.exit_code == 0, result.output
        assert "applied as version" in result.stdout


def test_a_secret_is_written_as_the_gateway_reads_it_whatever_the_locale(tmp_path):
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    try:
        imports._write_secrets({str(tmp_path / "secrets" / "smart-host"): "Förster"})
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    assert (tmp_path / "secrets" / "smart-host").read_bytes() == "Förster\n".encode()


def test_partners_begin_in_rehearsal_where_it_is_asked_for(dump):
    """Those that demand something, and are enabled; own servers would relay no more."""
    own = INBOUND | {
        "Name": "own",
        "ConnectorType": "OnPremises",
        "SenderDomains": ["*"],
        "SenderIPAddresses": ["192.0.2.9"],
    }
    plain = OUTBOUND | {"Name": "plain", "RecipientDomains": ["c.example"], "TlsSettings": None}
    off = OUTBOUND | {"Name": "off", "RecipientDomains": ["d.example"], "Enabled": False}
    result = call("exchange", "--rehearse", dump(INBOUND, OUTBOUND, own, plain, off, DOMAIN))
    organization = tomllib.loads(result.stdout)["organization"]["contoso"]
    parse({"organization": {"contoso": organization}})
    tables = organization["inbound_connector"] + organization["outbound_connector"]
    assert {table["name"]: table.get("mode") for table in tables} == {
        "bank in": "rehearse", "bank out": "rehearse", "own": None, "plain": None, "off": None,
    }  # fmt: skip
    assert "2 connectors in rehearsal" in result.stderr


def test_what_holds_for_many_is_said_once(dump):
    named = {"TlsSenderCertificateName": "*.bank.example"}
    many = [
        INBOUND | named | {"Name": f"bank {number}", "SenderDomains": [f"b{number}.example"]} for number in range(5)
    ]
    result = call("exchange", dump(*many, DOMAIN))
    assert result.stderr.count("match_common_name = true keeps") == 1
    assert "for 5 resources, such as inbound connector 'bank 0'" in result.stderr
    assert result.stdout.count("match_common_name = true keeps") == 5
