"""OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's and Microsoft's older form of it): the client's message, and our error.

Used by `mail.inbound.login`. Reads the octets around a token, never the token; no token is in the text of an
error.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Final

from gatepost.protocols.smtp.sasl import SaslError, saslprep
from gatepost.values import RedactedStruct

TOKEN_OCTETS: Final = 8192
"""The longest token that is read; a line of AUTH (RFC 4954 section 4) has room for some 9200 octets of a message."""

_MESSAGE_OCTETS = 12_288
_NAME_OCTETS = 512
_PAIRS = 16
_SEPARATOR = "\x01"

# RFC 7628 section 3.1 with RFC 5801 section 4: n or y; p would be a channel binding, and the mechanism has none.
_HEADER = re.compile(r"[ny],(?:a=(?P<authzid>(?:[^=,\0]|=2C|=3D)+))?,")
_PAIR = re.compile(r"(?P<key>[A-Za-z]+)=(?P<value>[\t\n\r -~]*)")
_BEARER = re.compile(r"bearer +(?P<token>[A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)  # RFC 6750 section 2.1
_XOAUTH2 = re.compile(r"user=(?P<user>[^\x01\0]+)\x01auth=(?P<auth>[\t -~]*)\x01\x01")


class TokenStatus(StrEnum):
    """The error of a token, in the words of RFC 6750 section 3.1."""

    INVALID_REQUEST = "invalid_request"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 - the RFC's word
    INSUFFICIENT_SCOPE = "insufficient_scope"


# XOAUTH2 says it by the status that HTTP would have.
_HTTP: Final = {
    TokenStatus.INVALID_REQUEST: "400",
    TokenStatus.INVALID_TOKEN: "401",
    TokenStatus.INSUFFICIENT_SCOPE: "403",
}


class BearerMessage(RedactedStruct, frozen=True):
    """authzid: whom to act as, "" for whom the token names. token: "" from a client that only asks where to get one."""

    REDACTED = ("token",)

    authzid: str
    token: str


def parse_oauthbearer(message: bytes) -> BearerMessage:
    """The initial response of RFC 7628 section 3.1. Raises SaslError.

    host and port, which a client may add, are not looked at: a token says itself whom it is for. No auth, or an empty
    one, asks for the error that names the authorization server (section 4.3).
    """
    text = _text(message, "OAUTHBEARER")
    header = _HEADER.match(text)
    if header is None:
        if text.startswith("p="):
            raise SaslError("OAUTHBEARER has no channel binding, though the client asks for it")
        raise SaslError("OAUTHBEARER needs a GS2 header first")
    parts = text[header.end() :].split(_SEPARATOR)
    if len(parts) < 3 or parts[0] or parts[-2] or parts[-1] or len(parts) > _PAIRS + 3:
        raise SaslError("OAUTHBEARER needs key=value pairs, each ended by ^A, and one more ^A")
    found: dict[str, str] = {}
    for part in parts[1:-2]:
        pair = _PAIR.fullmatch(part)
        if pair is None or pair["key"].lower() in found:
            raise SaslError("OAUTHBEARER with a pair that is malformed or repeated")
        found[pair["key"].lower()] = pair["value"]
    authzid = (header["authzid"] or "").replace("=2C", ",").replace("=3D", "=")
    return BearerMessage(_name(authzid), _token(found.get("auth", "")))


def parse_xoauth2(message: bytes) -> BearerMessage:
    """The initial response of XOAUTH2: user=NAME^Aauth=Bearer TOKEN^A^A. Raises SaslError."""
    match = _XOAUTH2.fullmatch(_text(message, "XOAUTH2"))
    if match is None:
        raise SaslError("XOAUTH2 needs user=NAME^Aauth=Bearer TOKEN^A^A")
    return BearerMessage(_name(match["user"]), _token(match["auth"]))


def token_error(mechanism: str, status: TokenStatus, *, scope: str = "", configuration: str = "") -> bytes:
    """The challenge that tells a client why its token is not taken (RFC 7628 section 3.2.2), or XOAUTH2's form of it.

    scope: what a token must have, scopes with spaces between. configuration: where its authorization server tells about
    itself. "" leaves either out.
    """
    if mechanism == "XOAUTH2":
        said = {"status": _HTTP[status], "schemes": "bearer", "scope": scope}
    else:
        said = {"status": status.value, "scope": scope, "openid-configuration": configuration}
    return json.dumps({key: value for key, value in said.items() if value}).encode()


def _text(message: bytes, mechanism: str) -> str:
    if len(message) > _MESSAGE_OCTETS:
        raise SaslError(f"{mechanism} message is too long")
    try:
        return message.decode("utf-8")
    except UnicodeDecodeError:
        raise SaslError(f"{mechanism} message is not UTF-8") from None


def _name(text: str) -> str:
    if len(text.encode()) > _NAME_OCTETS:
        raise SaslError("a name that is too long")
    return saslprep(text)


def _token(auth: str) -> str:
    if not auth.strip():
        return ""
    match = _BEARER.fullmatch(auth)
    if match is None:
        raise SaslError("the auth value is not Bearer and a token")
    if len(match["token"]) > TOKEN_OCTETS:
        raise SaslError(f"the token has more than {TOKEN_OCTETS} octets")
    return match["token"]
