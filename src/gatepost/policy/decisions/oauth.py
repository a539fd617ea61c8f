"""Decide whom an access token logs in: the trusted issuer, and the mailbox its claims name (RFC 9068).

Called by `mail.inbound.tokens`, which checks signature, issuer, audience and times in between. An issuer vouches for
the mailboxes of the organization that named it and for no other's. Pure: a directory and claims in, a value out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.policy.connectors.oauth import OauthIssuer, configuration_urls
from gatepost.protocols.smtp.oauth import TokenStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import Mailbox, Organization


# RFC 9068 section 2.1, and what issuers write that do not know it. Other kinds of JWT (logout, security events) are for
# others, and must not pass for access tokens (RFC 8725 section 3.11).
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt", "jwt", ""})


class TrustedIssuer(msgspec.Struct, frozen=True):
    """An organization, and the issuer that it trusts with its mailboxes."""

    organization: Organization
    issuer: OauthIssuer

    @property
    def label(self) -> str:
        """As sentences name it."""
        return f"OAuth issuer {self.issuer.name!r} of {self.organization.name}"


class TokenVerdict(msgspec.Struct, frozen=True):
    """The result of checking a token.

    user: the mailbox it logs in, "" if none. reason: for us, with no part of the token.

    temporary: it could not be checked now. genuine: its issuer made it for us, though it is refused, so that this is
    no attempt at guessing. expires: when it logs nobody in any more, in seconds since 1970: the issuer's `leeway` after
    its time (`exp`); 0 where it logs in nobody.
    """

    user: str
    reason: str
    status: TokenStatus = TokenStatus.INVALID_TOKEN
    temporary: bool = False
    genuine: bool = False
    expires: int = 0


class Hint(msgspec.Struct, frozen=True):
    """A hint for a client without a valid token, or "": where to get one. See `protocols.smtp.oauth.token_error`."""

    scope: str = ""
    configuration: str = ""


def trusted_issuer(directory: Directory, claims: Mapping[str, Any]) -> TrustedIssuer | None:
    """By whose terms a token is to be judged, going by claims that nobody has verified yet; None if by nobody's.

    Where several organizations trust one issuer, it is the one that accepts the domain of the user's address.
    """
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        return None
    for organization, named in directory.oauth_issuers(issuer):
        if directory.organization_of(_domain(claims.get(named.username_claim))) is organization:
            return TrustedIssuer(organization, named)
    return None


def judge_type(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Explain why a token is of a kind that we do not accept, whoever made it; "" if it may be accepted."""
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        return "it is a JWT of another kind than an access token (typ)"
    if "cnf" in claims:
        return "it is bound to a key of the client's (cnf), which the gateway cannot verify"
    return ""


def judge_claims(directory: Directory, voucher: TrustedIssuer, claims: Mapping[str, Any], authzid: str) -> TokenVerdict:
    """The verdict on claims that are verified. authzid: whom the client acts as, "" for whom the token names."""
    granted = _scopes(claims)
    if missing := [scope for scope in voucher.issuer.required_scopes if scope not in granted]:
        why = f"the token lacks the scope {' '.join(missing)}"
        return TokenVerdict("", why, TokenStatus.INSUFFICIENT_SCOPE, genuine=True)
    mailbox = _mailbox(directory, voucher, claims)
    if isinstance(mailbox, str):
        return TokenVerdict("", mailbox)
    if authzid and directory.mailbox(authzid) is not mailbox:
        return TokenVerdict("", f"it is the token of {mailbox.address}, who may not act as another")
    expires = int(claims["exp"]) + math.ceil(voucher.issuer.leeway)
    return TokenVerdict(mailbox.address, "logged in", genuine=True, expires=expires)


def _mailbox(directory: Directory, voucher: TrustedIssuer, claims: Mapping[str, Any]) -> Mailbox | str:
    """The mailbox that the claims name; or why there is none that the issuer may vouch for."""
    claim = voucher.issuer.username_claim
    named = claims.get(claim)
    if not isinstance(named, str) or not named:
        return f"the token has no claim {claim} with a text"
    if claim == "email" and claims.get("email_verified", True) not in (True, "true"):
        return "the issuer has not verified that the address is the user's (email_verified)"
    match = directory.recipient(named)
    if match is None or match.by.lower() != named.lower():  # what stands behind a separator, anybody may choose
        return f"its {claim} is not an address of a mailbox"
    if directory.organization_of(_domain(match.mailbox.address)) is not voucher.organization:
        return f"{match.mailbox.address} is not of the organization that trusts the issuer"
    return match.mailbox


def hint_for(directory: Directory, name: str) -> Hint:
    """The hint where a user who wants to log in as `name` gets a token.

    It depends on the domain alone, not on mailboxes.
    """
    owner = directory.organization_of(_domain(name))
    issuer = (
        next((oauth_issuer for oauth_issuer in owner.oauth_issuers if oauth_issuer.enabled), None) if owner else None
    )
    if issuer is None:
        return Hint()
    configuration = "" if issuer.jwks_url else configuration_urls(issuer.issuer)[0]
    return Hint(" ".join(issuer.required_scopes), configuration)


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """RFC 9068 section 2.2.3 has "scope" with spaces between; Entra and Okta write "scp", a text or a list."""
    found: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name, ())
        found.update(value.split() if isinstance(value, str) else _texts(value))
    return frozenset(found)


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _domain(address: object) -> str:
    return address.rpartition("@")[2].lower() if isinstance(address, str) else ""
