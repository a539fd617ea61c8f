from __future__ import annotations

import pytest

RESOURCES = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.inbound_connector]]
name = "branch"
connector_type = "on-premises"
sender_ip_addresses = ["203.0.113.0/24"]
[[organization.contoso.outbound_connector]]
name = "rest"
recipient_domains = ["*"]
"""
ANN = "ann@contoso.example"


@pytest.fixture
def stored(home, tmp_path):
    file = tmp_path / "resources.toml"
    file.write_text(RESOURCES, encoding="utf-8")
    home.call("apply", "-f", file)
    return home


def test_what_is_assumed_is_a_stranger_whose_address_no_connector_holds(stored):
    said = stored.json("explain", "--from", "x@any.test", "--to", ANN)
    assert (said["ip"], said["tls"]) == ("198.51.100.1", "")
    assert said["inbound"]["organization"] == "contoso"
    text = stored.call("explain", "--from", "x@any.test", "--to", ANN).stdout
    assert "assumed: from 198.51.100.1, a stranger's address; use --ip ADDRESS to simulate a client\n" in text
    assert "assumed: unencrypted; use --tls TLSv1.3 or --certificate FILE to change it\n" in text


def test_what_a_client_over_tls_agrees_on_is_assumed_and_said(stored):
    text = stored.call("explain", "--from", "x@any.test", "--to", ANN, "--tls", "TLSv1.3").stdout
    assert "assumed: key exchange X25519MLKEM768, cipher suite TLS_AES_256_GCM_SHA384\n" in text


@pytest.mark.parametrize("null", ["", "<>"])
def test_the_null_reverse_path_has_two_spellings(stored, null):
    assert stored.json("explain", "--from", null, "--to", ANN)["from"] == ""


def test_postmaster_without_a_domain_is_who_the_settings_say(stored):
    words = ["explain", "--from", "x@any.test", "--to", "postmaster"]
    assert stored.json(*words, code=1)["to"] == "postmaster"
    stored.settings(server={"hostname": "mx.gate.example", "data_dir": "data", "postmaster": ANN})
    assert stored.json(*words)["to"] == ANN


def test_expiration_is_the_servers_where_the_organization_has_none(stored):
    assert stored.json("explain", "--from", "", "--to", ANN)["expires_after"] == 86400


def test_header_fields_are_read_as_those_of_a_message(stored):
    for field in ("X-Word:a", "x-word: =?utf-8?q?gr=C3=BC=C3=9Fe?=", "X-Empty:"):
        stored.call("explain", "--from", "", "--to", ANN, "--header", field)
    for field in ("no field", ": x", "with space: x", "ümlaut: x"):
        assert (
            "write it as 'X-Confidential: yes'"
            in stored.call("explain", "--from", "", "--to", ANN, "--header", field, code=2).stderr
        )


def test_tls_without_a_certificate(stored):
    said = stored.json("explain", "--from", "", "--to", ANN, "--tls", "TLSv1.2")
    assert said["tls"] == "TLSv1.2"
    assert "it presented no certificate" in said["inbound"]["reasons"][0]
    clear = stored.json("explain", "--from", "", "--to", ANN, "--tls", "none")
    assert clear["tls"] == ""


def test_without_resources_it_says_what_to_do(home):
    result = home.call("explain", "--from", "", "--to", ANN, code=1)
    assert result.stderr == "no organization is stored yet, so nothing is accepted; add one: gatepost apply -f FILE\n"


def test_a_message_with_requiretls_comes_over_tls(stored):
    words = ["explain", "--from", ANN, "--to", "x@any.test", "--ip", "203.0.113.9", "--requiretls"]
    said = stored.json(*words)
    assert said["tls"] == "TLSv1.3"
    assert said["outbound"]["requirement"] == "authenticated(mx.any.test) with requiretls"
    assert said["outbound"]["requirement_sources"] == ["requiretls"]
    (last,) = [one for one in said["failures"] if one["kind"] == "no-requiretls"]
    assert (last["result"], last["reply"][:10]) == ("fails", "550 5.7.30")
    text = stored.call(*words).stdout
    assert "the message asks for REQUIRETLS" in text
    assert "no REQUIRETLS offered returned at once: 550 5.7.30 RequireTlsNotOffered\n" in text
    assert "leave one away" in stored.call(*words, "--tls", "none", code=2).stderr


def test_tls_required_no_is_a_field_of_the_message(stored):
    words = ["explain", "--from", ANN, "--to", "x@any.test", "--ip", "203.0.113.9", "--header", "TLS-Required: No"]
    text = stored.call(*words).stdout
    assert "TLS-Required: No lets the message leave unencrypted after a failed TLS handshake" in " ".join(text.split())
    assert "handshake fails" in text
    assert "waits, then delivered unencrypted on a later attempt" in text
