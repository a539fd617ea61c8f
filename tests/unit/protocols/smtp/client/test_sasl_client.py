from __future__ import annotations

import pytest

from gatepost.protocols.smtp.client.sasl_client import (
    BY_PASSWORD,
    BY_TOKEN,
    LoginClient,
    PlainClient,
    ScramMechanism,
    TokenClient,
    binding_of,
    choose,
    password_client,
)
from gatepost.protocols.smtp.oauth import parse_oauthbearer, parse_xoauth2
from gatepost.protocols.smtp.sasl import SaslError, parse_plain
from gatepost.protocols.smtp.scram import ScramServer, make_verifier

EXPORTER = {"tls-exporter": b"E" * 32}
END_POINT = {"tls-server-end-point": b"S" * 32}
VERIFIER = make_verifier("pencil", b"0123456789abcdef")


def made(name, offered="", bindings=None):
    return password_client(name, "user", "pencil", nonce="cnonce", offered=offered, bindings=bindings or {})


def test_plain_says_all_at_once():
    client = made("PLAIN")
    assert isinstance(client, PlainClient)
    message = parse_plain(client.initial())
    assert (message.authzid, message.name, message.password) == ("", "user", "pencil")
    client.complete()
    with pytest.raises(SaslError, match="asks for more"):
        client.respond(b"")


def test_login_answers_two_questions():
    client = made("LOGIN")
    assert isinstance(client, LoginClient)
    assert client.initial() is None
    assert (client.respond(b"Username:"), client.respond(b"whatever")) == (b"user", b"pencil")
    client.complete()
    with pytest.raises(SaslError, match="asks for more"):
        client.respond(b"Once more:")


@pytest.mark.parametrize(
    ("name", "bindings", "plus"),
    [("SCRAM-SHA-256", {}, False), ("SCRAM-SHA-256-PLUS", EXPORTER, True), ("SCRAM-SHA-256-PLUS", END_POINT, True)],
)
def test_scram_proves_both_sides(name, bindings, plus):
    client, server = made(name, bindings=bindings), ScramServer("snonce", bindings, plus=plus)
    assert isinstance(client, ScramMechanism)
    server.first(client.initial())
    final = server.final(client.respond(server.challenge(VERIFIER)))
    with pytest.raises(SaslError, match="did not prove"):
        client.complete()
    assert client.respond(final) == b""
    client.complete()
    with pytest.raises(SaslError, match="asks for more"):
        client.respond(b"")


def test_a_server_that_was_robbed_of_its_plus_finds_out():
    bare = made("SCRAM-SHA-256", "SCRAM-SHA-256 PLAIN", EXPORTER)
    with pytest.raises(SaslError, match="a downgrade"):
        ScramServer("snonce", EXPORTER, plus=False).first(bare.initial())
    chosen = made("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS SCRAM-SHA-256", EXPORTER)
    ScramServer("snonce", EXPORTER, plus=False).first(chosen.initial())


def test_a_token_in_both_forms_and_the_error_of_it():
    bearer, google = (TokenClient(name, "a,b=c@d.example", "abc.DEF", "relay.example", 587) for name in BY_TOKEN)
    first, second = parse_oauthbearer(bearer.initial()), parse_xoauth2(google.initial())
    assert (first.authzid, first.token) == (second.authzid, second.token) == ("a,b=c@d.example", "abc.DEF")
    assert b"\x01host=relay.example\x01port=587\x01" in bearer.initial()
    assert bearer.respond(b'{"status":\n"invalid_token"}') == b"\x01"
    assert google.respond(b"") == b""
    assert (bearer.error, google.error) == ('{"status": "invalid_token"}', "refused without a reason")
    bearer.complete()
    with pytest.raises(SaslError, match="asks for more"):
        bearer.respond(b"")


@pytest.mark.parametrize(("user", "token"), [("a\x01b", "t"), ("a", "t\x01"), ("a", "é")])
def test_what_would_end_the_field_of_a_token_is_refused(user, token):
    with pytest.raises(SaslError, match="may not have"):
        TokenClient("XOAUTH2", user, token, "relay.example", 587)


@pytest.mark.parametrize(
    ("offered", "allowed", "bindings", "chosen"),
    [
        ("PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", BY_PASSWORD, EXPORTER, "SCRAM-SHA-256-PLUS"),
        ("PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", BY_PASSWORD, {"tls-unique": b"u"}, "SCRAM-SHA-256"),
        ("login plain", BY_PASSWORD, {}, "PLAIN"),
        ("LOGIN", BY_PASSWORD, {}, "LOGIN"),
        ("PLAIN", ("LOGIN",), {}, ""),
        ("XOAUTH2 PLAIN", BY_TOKEN, {}, "XOAUTH2"),
        ("", BY_PASSWORD, {}, ""),
        ("CRAM-MD5", BY_PASSWORD, {}, ""),
    ],
)
def test_the_best_of_what_both_have(offered, allowed, bindings, chosen):
    assert choose(offered, allowed, bindings) == chosen


def test_the_binding_of_tls_1_3_goes_first():
    assert binding_of(END_POINT | EXPORTER) == ("tls-exporter", b"E" * 32)
    assert binding_of({"tls-exporter": b""}) is None
