from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.oauth import (
    TOKEN_OCTETS,
    BearerMessage,
    TokenStatus,
    parse_oauthbearer,
    parse_xoauth2,
    token_error,
)
from gatepost.protocols.smtp.sasl import SaslError

ANN = "ann@contoso.example"

GOOD = [
    ("n,,\1auth=Bearer a.b.c\1\1", "", "a.b.c"),
    # RFC 7628 section 4.1
    (
        "n,a=user@example.com,\1host=x\1port=143\1auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1",
        "user@example.com",
        "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==",
    ),
    ("y,a=a=2Cb=3Dc,\1auth=bearer  x \1\1", "a,b=c", "x"),
    ("n,a=user@example.com,\1host=server.example.com\1port=143\1auth=\1\1", "user@example.com", ""),  # section 4.3
    ("n,,\1host=x\1\1", "", ""),
    ("n,,\1\1", "", ""),
    ("n,,\1auth=Bearer " + "x" * TOKEN_OCTETS + "\1\1", "", "x" * TOKEN_OCTETS),
]


@pytest.mark.parametrize(("text", "authzid", "token"), GOOD, ids=range(len(GOOD)))
def test_oauthbearer(text, authzid, token):
    assert parse_oauthbearer(text.encode()) == BearerMessage(authzid, token)


BAD = [
    (b"", "GS2 header"),
    (b"\1", "GS2 header"),
    (b"a=ann,\1auth=Bearer x\1\1", "GS2 header"),
    (b"n,a=an=n,\1auth=Bearer x\1\1", "GS2 header"),
    (b"p=tls-exporter,,\1auth=Bearer x\1\1", "no channel binding"),
    (b"n,,", "one more ^A"),
    (b"n,,auth=Bearer x\1\1", "one more ^A"),
    (b"n,,\1auth=Bearer x\1", "one more ^A"),
    (b"n,,\1auth=Bearer x", "one more ^A"),
    (b"n,,\1auth=Bearer x\1\1tail", "one more ^A"),
    (b"n,,\1" + b"a=b\1" * 17 + b"\1", "one more ^A"),
    (b"n,,\1auth\1\1", "malformed or repeated"),
    (b"n,,\1au th=Bearer x\1\1", "malformed or repeated"),
    (b"n,,\1auth=Bearer \0\1\1", "malformed or repeated"),
    (b"n,,\1auth=Bearer x\1AUTH=Bearer y\1\1", "malformed or repeated"),
    (b"n,,\1auth=Basic x\1\1", "not Bearer"),
    (b"n,,\1auth=Bearer\1\1", "not Bearer"),
    (b"n,,\1auth=Bearer x y\1\1", "not Bearer"),
    (b"n,,\1auth=Bearer " + b"x" * (TOKEN_OCTETS + 1) + b"\1\1", "more than 8192 octets"),
    (b"n,,\1auth=Bearer \xff\1\1", "not UTF-8"),
    (b"n,a=" + b"a" * 513 + b",\1auth=Bearer x\1\1", "name that is too long"),
    (b"n,,\1auth=Bearer " + b"x" * 13_000 + b"\1\1", "too long"),
]


@pytest.mark.parametrize(("message", "why"), BAD, ids=range(len(BAD)))
def test_oauthbearer_that_is_malformed(message, why):
    with pytest.raises(SaslError, match=why.replace("^", r"\^")):
        parse_oauthbearer(message)


@pytest.mark.parametrize("token", ["a.b.c", ""])
def test_xoauth2(token):
    said = f"Bearer {token}" if token else ""
    assert parse_xoauth2(f"user={ANN}\1auth={said}\1\1".encode()) == BearerMessage(ANN, token)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "user=NAME"),
        (b"user=\1auth=Bearer x\1\1", "user=NAME"),
        (b"user=a\1auth=Bearer x\1", "user=NAME"),
        (b"user=a\1auth=Bearer x\1\1\1", "user=NAME"),
        (b"n,,\1user=a\1auth=Bearer x\1\1", "user=NAME"),
        (b"user=a\1auth=token x\1\1", "not Bearer"),
        (b"user=\xff\1auth=Bearer x\1\1", "XOAUTH2 message is not UTF-8"),
        (b"user=" + b"a" * 600 + b"\1auth=Bearer x\1\1", "too long"),
        (b"user=a" + b"b" * 13_000, "XOAUTH2 message is too long"),
    ],
)
def test_xoauth2_that_is_malformed(message, why):
    with pytest.raises(SaslError, match=why):
        parse_xoauth2(message)


@given(st.binary(max_size=200))
def test_octets_are_read_or_refused(message):
    for parse in (parse_oauthbearer, parse_xoauth2):
        try:
            found = parse(message)
        except SaslError:
            continue
        assert found.token.encode() in message


def test_no_token_is_in_a_text():
    message = parse_oauthbearer(b"n,,\1auth=Bearer secret.token\1\1")
    assert "secret" not in repr(message)
    with pytest.raises(SaslError) as refused:
        parse_oauthbearer(b"n,,\1auth=Basic secret\1\1")
    assert "secret" not in str(refused.value)


def test_errors():
    error = token_error("OAUTHBEARER", TokenStatus.INVALID_TOKEN, scope="a b", configuration="https://x.example/y")
    assert json.loads(error) == {
        "status": "invalid_token",
        "scope": "a b",
        "openid-configuration": "https://x.example/y",
    }
    assert json.loads(token_error("OAUTHBEARER", TokenStatus.INSUFFICIENT_SCOPE)) == {"status": "insufficient_scope"}
    error = token_error("XOAUTH2", TokenStatus.INVALID_REQUEST, configuration="https://x.example/y")
    assert json.loads(error) == {"status": "400", "schemes": "bearer"}
