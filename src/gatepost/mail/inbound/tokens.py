"""Verify an access token: its signature by the issuer's keys, its issuer, audience and times by PyJWT (RFC 7519).

Used by `mail.inbound.login`, once for each token. Whom it logs in is decided by `policy.decisions.oauth`. Nothing
of a token gets into a reason, not even what its issuer wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jwt

from gatepost.net.lookups.issuer_keys import IssuerKeys, KeysUnavailable
from gatepost.policy.decisions.oauth import TokenVerdict, TrustedIssuer, judge_claims, judge_type, trusted_issuer
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.net.lookups.jwks import IssuerKey
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.oauth import OauthIssuer


_TRIED: Final = 8  # keys, for a token that does not say which

# What PyJWT finds wrong behind a good signature: the words, and whether the token is one that was made for us.
_FAULTS: Final[tuple[tuple[type[jwt.PyJWTError], str, bool], ...]] = (
    (jwt.ExpiredSignatureError, "the token has expired", True),
    (jwt.ImmatureSignatureError, "the token does not hold yet; compare the issuer's clock and ours", True),
    (jwt.InvalidAudienceError, "the token is for another audience", False),
    (jwt.InvalidIssuerError, "the token is of another issuer", False),
    (jwt.MissingRequiredClaimError, "the token lacks one of exp, iss and aud", False),
)


async def judge_token(directory: Directory, keys: IssuerKeys, token: str, authzid: str) -> TokenVerdict:
    """The verdict on a token. authzid: whom the client wants to act as, "" for whom the token names. Never raises."""
    try:
        decoded = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return TokenVerdict("", "the token is not a JWT; those that only their issuer can read are not taken")
    voucher = trusted_issuer(directory, decoded["payload"])
    if voucher is None:
        return TokenVerdict("", "the token's issuer is none that the organization of its user trusts")
    verdict = _refused(voucher, decoded["header"], decoded["payload"])
    if verdict is None:
        claims = await _verified(voucher, keys, token, decoded["header"])
        verdict = claims if isinstance(claims, TokenVerdict) else judge_claims(directory, voucher, claims, authzid)
    return replace(verdict, reason=f"{voucher.label}: {verdict.reason}")


def _refused(voucher: TrustedIssuer, header: dict[str, Any], claims: dict[str, Any]) -> TokenVerdict | None:
    """What needs no key to be wrong."""
    if header.get("alg") not in voucher.issuer.algorithms:
        return TokenVerdict("", "the token is signed by no algorithm that is taken")
    why = judge_type(header, claims)
    return TokenVerdict("", why) if why else None


async def _verified(
    voucher: TrustedIssuer, keys: IssuerKeys, token: str, header: dict[str, Any]
) -> dict[str, Any] | TokenVerdict:
    """The claims behind a good signature; or what is wrong."""
    kid = header.get("kid", "")
    issuer_keys = await keys.find(voucher.issuer, kid if isinstance(kid, str) else "")
    if isinstance(issuer_keys, KeysUnavailable):
        return TokenVerdict("", f"there is no key to check the token with: {issuer_keys.detail}", temporary=True)
    if not issuer_keys:
        return TokenVerdict("", "the token is signed with a key that the issuer does not have")
    for key in [issuer_key for issuer_key in issuer_keys if issuer_key.suits(header["alg"])][:_TRIED]:
        try:
            return _decoded(voucher.issuer, token, key)
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            continue
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as fault:
            return _fault(fault)
    return TokenVerdict("", "the token's signature is not the issuer's")


def _decoded(issuer: OauthIssuer, token: str, key: IssuerKey) -> dict[str, Any]:
    return jwt.decode(
        token,
        key.key,
        algorithms=[algorithm for algorithm in issuer.algorithms if key.suits(algorithm)],
        audience=issuer.audiences,
        issuer=issuer.issuer,
        leeway=issuer.leeway,
        options={"require": ["exp", "iss", "aud"]},
    )


def _fault(fault: Exception) -> TokenVerdict:
    for kind, words, genuine in _FAULTS:
        if isinstance(fault, kind):
            return TokenVerdict("", words, genuine=genuine)
    return TokenVerdict("", "the token's claims are malformed")
