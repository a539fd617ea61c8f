from __future__ import annotations

import asyncio
import base64

import pytest

from gatepost.mail.outbound.failure import HopFailed, LoginFailure
from gatepost.mail.outbound.hop import Hop
from gatepost.mail.outbound.hop_options import hop_options
from gatepost.mail.outbound.login import SmartHostLogins
from gatepost.net.lookups.access_tokens import TokenUnavailable
from gatepost.pki.certificates.connector_secrets import SecretError
from gatepost.policy.connectors.records import OutboundConnector
from gatepost.policy.decisions.requirement import (
    Achieved,
    Authenticated,
    Encrypted,
    Identity,
    Shortfall,
    TlsLevel,
    Verdict,
)
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.scram import ScramServer, make_verifier

PROVED = Authenticated((), (Identity(("relay.example",)),))
WORD = "pencil"
OK = Reply(235, "2.7.0", ("welcome",))
NO = Reply(535, "5.7.8", ("no",))
LATER = Reply(454, "4.7.0", ("later",))


def challenge(octets=b""):
    return Reply(334, "", (base64.b64encode(octets).decode(),))


class Connection:
    """replies: to what is said, in turn; a function is asked with it."""

    def __init__(self, offered, *replies):
        self.extensions = {"AUTH": offered} if offered else {}
        self.said = []
        self._replies = list(replies)

    def channel_bindings(self):
        return {}

    async def auth(self, mechanism, initial):
        self.said.append(mechanism)
        return self._next(initial)

    async def auth_response(self, response):
        return self._next(response)

    def _next(self, octets):
        self.said.append(octets)
        reply = self._replies.pop(0)
        return reply(octets) if callable(reply) else reply


class Secrets:
    def __init__(self, error=None):
        self.asked = 0
        self.error = error

    def read(self, _place):
        self.asked += 1
        if self.error:
            raise self.error
        return WORD


class Tokens:
    def __init__(self, failure=None):
        self.failure = failure
        self.forgotten = []

    async def token(self, request):
        assert request.secret == WORD
        if self.failure:
            raise self.failure
        return "abc"

    def forget(self, _request, token):
        self.forgotten.append(token)


def run(
    connection,
    requirement=PROVED,
    achieved=TlsLevel.AUTHENTICATED,
    *,
    shortfall=None,
    secrets=None,
    tokens=None,
    **fields,
):
    authentication = {"username": "user"} | fields
    made = OutboundConnector.model_validate(
        {"name": "c", "smart_hosts": ["a.example"], "authentication": authentication}
    )
    options = hop_options(made, "contoso")
    hop = Hop("relay.example", "192.0.2.1", 587, requirement, options=options)
    logins = SmartHostLogins(secrets or Secrets(), tokens or Tokens(), lambda: "cnonce")
    verdict = Verdict(requirement, Achieved(achieved), shortfall)
    try:
        asyncio.run(logins.log_in(hop, options.login, connection, verdict))
    except HopFailed as failed:
        failure = failed.failure
    else:
        return None
    assert WORD not in failure.text
    assert failure.reply.transient
    return failure


@pytest.mark.parametrize(
    ("requirement", "achieved", "shortfall"),
    [
        (Encrypted(()), TlsLevel.ENCRYPTED, None),
        (Encrypted(()), TlsLevel.AUTHENTICATED, None),
        (Authenticated((), (Identity(()),)), TlsLevel.AUTHENTICATED, None),
        (PROVED, TlsLevel.ENCRYPTED, None),
        (PROVED, TlsLevel.NONE, None),
        (PROVED, TlsLevel.AUTHENTICATED, Shortfall(None, "4.7.320", "SubjectMismatch", "")),
    ],
)
def test_nothing_is_read_or_sent_where_no_name_was_proved(requirement, achieved, shortfall):
    connection, secrets = Connection("PLAIN", OK), Secrets()
    failure = run(connection, requirement, achieved, shortfall=shortfall, secrets=secrets)
    assert "did not prove its name" in failure.reply.text
    assert (connection.said, secrets.asked) == ([], 0)


def test_plain_and_what_a_host_says_to_it():
    good = Connection("PLAIN", OK)
    assert run(good) is None
    assert good.said == ["PLAIN", b"\0user\0pencil"]
    wrong = run(Connection("PLAIN", NO))
    assert wrong.reply.text == "450 4.7.8 Cannot log in to the next hop: PLAIN was answered with 535 5.7.8 no"
    assert wrong.login is LoginFailure.REFUSED
    later = run(Connection("PLAIN", LATER))
    assert later.reply.text.startswith("450 4.7.0 Cannot log in to the next hop: PLAIN was answered with 454 4.7.0")
    assert later.login is LoginFailure.PASSING


def test_scram_and_a_server_that_does_not_know_the_password():
    def conversation(word):
        server = ScramServer("snonce", {}, plus=False)

        def first(octets):
            server.first(octets)
            return challenge(server.challenge(make_verifier(word, b"0123456789abcdef")))

        def final(octets):
            return challenge(server.final(octets) or b"v=AAAA")

        return first, final

    assert run(Connection("SCRAM-SHA-256 PLAIN", *conversation(WORD), OK)) is None
    imposter = run(Connection("SCRAM-SHA-256 PLAIN", *conversation("another")))
    assert "does not know the password" in imposter.detail
    assert "cannot use its credentials" in imposter.reply.text
    hasty = run(Connection("SCRAM-SHA-256", OK))
    assert "did not prove that it knows the password" in hasty.detail


@pytest.mark.parametrize(
    ("connection", "fields", "said"),
    [
        (Connection(""), {}, "offers no log-in (AUTH)"),
        (Connection("CRAM-MD5"), {}, "offers AUTH CRAM-MD5"),
        (Connection("PLAIN"), {"mechanism": "login"}, "the connector uses LOGIN"),
        (Connection("SCRAM-SHA-256"), {"mechanism": "plain"}, "the connector uses PLAIN"),
        (Connection("PLAIN", challenge()), {}, "asks for more"),
        (Connection("LOGIN", challenge(), challenge(), challenge()), {}, "asks for more"),
        (Connection("SCRAM-SHA-256", Reply(334, "", ("!",))), {}, "not base64"),
        (Connection("SCRAM-SHA-256", challenge(b"x" * 4000)), {}, "challenge is too long"),
    ],
)
def test_what_does_not_lead_to_a_log_in(connection, fields, said):
    failure = run(connection, **fields)
    assert said in failure.detail
    assert failure.login is LoginFailure.REFUSED


def test_a_secret_that_cannot_be_used_is_told_to_us_alone():
    failure = run(Connection("PLAIN"), secrets=Secrets(SecretError("secret_file /etc/s: mode 0644")))
    assert "/etc/s" in failure.detail
    assert "/etc/s" not in failure.reply.text


TOKEN = {"token_url": "https://a.example/t", "client_id": "c"}


def test_tokens():
    connection, tokens = Connection("XOAUTH2 OAUTHBEARER PLAIN", OK), Tokens()
    assert run(connection, tokens=tokens, **TOKEN) is None
    assert connection.said[0] == "OAUTHBEARER"
    assert b"auth=Bearer abc" in connection.said[1]
    refused = run(Connection("XOAUTH2", challenge(b'{"status":"401"}'), NO), tokens=tokens, **TOKEN)
    assert 'the server says of the token: {"status":"401"}' in refused.detail
    assert tokens.forgotten == ["abc"]
    assert run(Connection("OAUTHBEARER", LATER), tokens=tokens, **TOKEN).login is LoginFailure.PASSING


@pytest.mark.parametrize("refused", [True, False])
def test_without_a_token_it_depends_on_why(refused):
    tokens = Tokens(TokenUnavailable("https://a.example/t: status 401", refused=refused))
    failure = run(Connection("OAUTHBEARER"), tokens=tokens, **TOKEN)
    assert failure.login is (LoginFailure.REFUSED if refused else LoginFailure.PASSING)
    assert "status 401" in failure.detail
