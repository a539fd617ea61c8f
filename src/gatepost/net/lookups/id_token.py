"""Verify an ID token (OpenID Connect Core section 3.1.3.7): signature, issuer, audience, times, nonce.

Used by `net.lookups.openid`. Signatures are checked with PyJWT, by keys that the issuer publishes and with algorithms
that have a public half, whatever the token asks for. Nothing of a token gets into an error.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

import jwt

from gatepost.policy.connectors.oauth import TokenAlgorithm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.net.lookups.jwks import IssuerKey


_LEEWAY: Final = 60  # seconds between the issuer's clock and ours
_TRIED: Final = 8  # keys, for a token that does not say which
_NEEDED: Final = ["exp", "iat", "iss", "aud", "sub"]
_TYPES: Final = frozenset({"jwt", ""})
_FAULTS: Final[tuple[tuple[type[jwt.PyJWTError], str], ...]] = (
    (jwt.ExpiredSignatureError, "the ID token has expired"),
    (jwt.ImmatureSignatureError, "the ID token does not hold yet; compare the issuer's clock and ours"),
    (jwt.InvalidAudienceError, "the ID token is for another client"),
    (jwt.InvalidIssuerError, "the ID token is of another issuer"),
    (jwt.MissingRequiredClaimError, "the ID token lacks one of exp, iat, iss, aud and sub"),
)


class IdTokenError(Exception):
    """The token is worth nothing. The text is for us."""


def verified_claims(token: str, keys: Sequence[IssuerKey], *, issuer: str, client: str, nonce: str) -> dict[str, Any]:
    """The claims of a token that is meant for us, now, and for the log-in of that nonce. Raises IdTokenError."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise IdTokenError("the ID token is no JWT") from None
    algorithm, kid, kind = (header.get(name, "") for name in ("alg", "kid", "typ"))
    if algorithm not in set(TokenAlgorithm):
        raise IdTokenError("the ID token is signed by no algorithm that is taken")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise IdTokenError("it is a JWT of another kind than an ID token (typ)")
    fitting = [key for key in keys if key.suits(algorithm) and (not kid or key.id in {kid, ""})]
    claims = _signed(token, fitting, issuer, client)
    claim = claims.get("nonce")
    if not isinstance(claim, str) or not hmac.compare_digest(claim.encode(), nonce.encode()):
        raise IdTokenError("the ID token is of another log-in (nonce)")
    if claims.get("azp", client) != client or (isinstance(claims["aud"], list) and len(claims["aud"]) > 1):
        raise IdTokenError("the ID token is for other clients, too (azp, aud)")
    return claims


def _signed(token: str, keys: Sequence[IssuerKey], issuer: str, client: str) -> dict[str, Any]:
    for key in keys[:_TRIED]:
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=[algorithm for algorithm in TokenAlgorithm if key.suits(algorithm)],
                audience=client,
                issuer=issuer,
                leeway=_LEEWAY,
                options={"require": _NEEDED},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            continue
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as fault:
            words = next((text for kind, text in _FAULTS if isinstance(fault, kind)), "its claims are malformed")
            raise IdTokenError(words) from None
    raise IdTokenError("the ID token's signature is not the issuer's")
