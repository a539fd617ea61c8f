from __future__ import annotations

import pytest

from gatepost.analysis.migration.postfix import convert
from gatepost.analysis.migration.report import ImportResult
from gatepost.policy.connectors.model import parse

WORD = "correct:horse battery"
BASE = "smtp_tls_security_level = secure\nrelayhost = [smtp.relay.example]:submission\n"
LOGIN = "smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = hash:/s\nsmtp_sasl_tls_security_options = noanonymous\n"
TABLE = f"[Smtp.relay.example]:submission Ann@contoso.example:{WORD}\n"


def imported(main, table=TABLE, **options):
    made = convert(main, {"/s": (table, "")}, organization="o", **options)
    parse(made.document)
    assert WORD not in repr((made.document, made.findings, made.notes, made.left_out))
    return made


def connector(made):
    (one,) = made.document["organization"]["o"]["outbound_connector"]
    return one


def told(made, outcome=ImportResult.LOST):
    return [f"{one.setting}: {one.detail}" for one in made.findings if one.outcome is outcome and one.setting]


def test_a_log_in_is_carried_over_and_its_password_has_to_be_entered():
    made = imported(BASE + LOGIN)
    assert connector(made)["authentication"] == {"username": "Ann@contoso.example"}
    assert connector(made)["smart_hosts"] == ["smtp.relay.example:587"]
    assert any("gatepost connector secret relayhost;" in line for line in told(made))
    assert made.secrets == {}


def test_with_a_folder_the_password_is_in_a_file_of_its_own():
    made = imported(BASE + LOGIN, secrets="/etc/gatepost/secrets")
    path = "/etc/gatepost/secrets/relayhost-1.secret"
    assert connector(made)["authentication"]["secret_file"] == path
    assert made.secrets == {path: WORD}
    assert not any("password" in line for line in told(made))


@pytest.mark.parametrize("level", ["none", "may", "encrypt", "dane-only", "fingerprint"])
def test_a_password_goes_to_a_host_that_proves_its_name_only(level):
    made = imported(BASE.replace("secure", level) + LOGIN)
    assert connector(made)["tls_settings"] == "domain-validation"
    assert "cleartext" not in connector(made)
    assert any('"domain-validation" instead of' in line for line in told(made, ImportResult.DIFFERS))


@pytest.mark.parametrize(
    ("more", "mechanism"),
    [
        ("", None),
        ("smtp_sasl_mechanism_filter = plain\n", "plain"),
        ("smtp_sasl_mechanism_filter = SCRAM-SHA-256, scram-sha-256-plus\n", "scram-sha-256"),
        ("smtp_sasl_mechanism_filter = plain, login\n", None),
        ("smtp_sasl_mechanism_filter = xoauth2\n", None),
        ("smtp_sasl_tls_security_options = noplaintext, noanonymous\n", "scram-sha-256"),
        ("smtp_sasl_tls_security_options = $smtp_sasl_security_options\n", "scram-sha-256"),
    ],
)
def test_mechanisms(more, mechanism):
    made = imported(BASE + LOGIN + more)
    assert connector(made)["authentication"].get("mechanism") == mechanism
    assert any("smtp_sasl_mechanism_filter: xoauth2" in line for line in told(made)) is ("xoauth2" in more)


@pytest.mark.parametrize(
    ("main", "table"),
    [
        (BASE + LOGIN, "smtp.relay.example ann:pw\n"),
        (BASE + LOGIN, "[smtp.relay.example]:submission ann:pw\n[smtp.relay.example]:submission eve:pw\n"),
        (BASE + LOGIN.replace("hash:/s", "static:ann:pw"), ""),
        (BASE + LOGIN.replace("hash:/s", "static:{ann:pw}"), ""),
        (BASE + LOGIN.replace("hash:/s", "inline:{smtp.relay.example=ann:pw}"), ""),
    ],
)
def test_where_the_log_in_of_a_host_is_found(main, table):
    assert connector(imported(main, table))["authentication"] == {"username": "ann"}


@pytest.mark.parametrize("table", ["other.example ann:pw\n", "[smtp.relay.example]:submission\n"])
def test_a_host_without_a_log_in(table):
    assert "authentication" not in connector(imported(BASE + LOGIN, table))


def test_what_is_off_or_cannot_be_read():
    assert "authentication" not in connector(imported(BASE + LOGIN.replace("yes", "no")))
    made = imported(BASE + LOGIN.replace("hash:/s", "mysql:/s"))
    assert any("write authentication into the connectors by hand" in line for line in told(made))
    made = imported("smtp_tls_security_level = encrypt\n" + LOGIN.replace("hash:/s", "static:ann:pw"))
    assert any("to smart_hosts only, never to MX hosts" in line for line in told(made))


@pytest.mark.parametrize(
    ("level", "settings"), [("may", "encryption-only"), ("encrypt", "encryption-only"), ("secure", "domain-validation")]
)
def test_tls_from_the_first_octet(level, settings):
    main = BASE.replace("secure", level).replace("submission", "smtps") + "smtp_tls_wrappermode = yes\n"
    made = connector(imported(main))
    assert (made["implicit_tls"], made["tls_settings"]) == (True, settings)
    assert made["smart_hosts"] == ["smtp.relay.example:465"]
    assert "cleartext" not in made


def test_no_mx_host_begins_with_tls():
    made = imported("smtp_tls_security_level = encrypt\nsmtp_tls_wrappermode = yes\n")
    assert "implicit_tls" not in connector(made)
    assert any("MX hosts begin without TLS" in line for line in told(made))


@pytest.mark.parametrize(
    ("more", "fields", "said"),
    [
        ("smtp_bind_address = 192.0.2.1\n", {"source_ipv4_address": "192.0.2.1"}, "over its address family only"),
        ("smtp_bind_address6 = [2001:db8::1]\n", {"source_ipv6_address": "2001:db8::1"}, "over its address family"),
        (
            "smtp_bind_address = 192.0.2.1\nsmtp_bind_address6 = 2001:db8::1\n",
            {"source_ipv4_address": "192.0.2.1", "source_ipv6_address": "2001:db8::1"},
            "",
        ),
        ("smtp_bind_address = 0.0.0.0\nsmtp_helo_name = out.example\n", {"hello_name": "out.example"}, ""),
        ("smtp_bind_address = eth0\n", {}, "eth0 is not an address"),
        ("myhostname = a.example\nsmtp_helo_name = $myhostname\n", {}, ""),
        (
            "smtp_helo_name = out.example\ninet_protocols = ipv4\n",
            {"hello_name": "out.example", "address_family": "ipv4"},
            "",
        ),
        ("smtp_helo_name = out.example\ninet_protocols = all\n", {"hello_name": "out.example"}, ""),
    ],
)
def test_names_and_addresses_of_ones_own(more, fields, said):
    made = imported("smtp_tls_security_level = may\n" + more)
    one = connector(made)
    assert one["recipient_domains"] == ["*"]
    own = ("source_ipv4_address", "source_ipv6_address", "hello_name", "address_family")
    assert {key: one[key] for key in own if key in one} == fields
    findings = told(made) + told(made, ImportResult.DIFFERS)
    assert any(said in line for line in findings) if said else not any("address family" in line for line in findings)


def test_a_password_of_an_entry_that_stands_alone():
    made = imported(BASE + LOGIN, "[smtp.relay.example]:submission ann\n")
    assert connector(made)["authentication"] == {"username": "ann"}
    assert made.secrets == {}
