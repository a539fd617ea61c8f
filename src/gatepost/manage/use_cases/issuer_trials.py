"""Trying an OAuth issuer, for every door: its keys are fetched as a worker would, and a token is judged by them.

Used by `gatepost issuer check`. A token is judged as at a log-in, and kept nowhere.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.use_cases.choice import choose_part, visible
from gatepost.manage.use_cases.parts import ISSUER
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resolving import resolver_of
from gatepost.policy.connectors.directory import Directory

if TYPE_CHECKING:
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.net.lookups.http import HttpFailed
    from gatepost.net.lookups.jwks import IssuerKey
    from gatepost.policy.connectors.oauth import OauthIssuer
    from gatepost.policy.decisions.oauth import TokenVerdict
    from gatepost.settings.model import Settings


_SHOWN: Final = ("iss", "aud", "exp", "scope", "scp")


def try_issuer(gateway: Gateway, who: Principal, name: str, organization: str = "", token: str = "") -> dict[str, Any]:
    """Its keys, and what a token is worth, null without one; as JSON shows it.

    failure: why what the issuer says cannot be used, and then there are no keys; "" if it can. Raises Refusal: MISSING
    if there is no such issuer, INPUT if it could be several, or trust anchors cannot be read, UNREADABLE if it cannot
    be asked.
    """
    from gatepost.net.anchors import AnchorsError  # noqa: PLC0415
    from gatepost.net.lookups.http import HttpFailed  # noqa: PLC0415 - only a trial needs it
    from gatepost.net.lookups.jwks import JwksError  # noqa: PLC0415

    directory = gateway.directory()
    own = Directory(visible(directory.resources, who), directory.version)  # a token of others says nothing of theirs
    issuer: OauthIssuer = choose_part(own.resources, ISSUER, name, organization).record
    try:
        keys, verdict = asyncio.run(_looked(gateway.settings, own, issuer, token))
    except HttpFailed as failed:
        text = f"keys of {issuer.issuer}: {failed}{_advice(issuer, failed)}"
        if failed.temporary:
            raise Refusal(Kind.UNREADABLE, text) from failed
        return {"keys": [], "token": None, "failure": text}
    except JwksError as error:
        return {"keys": [], "token": None, "failure": f"keys of {issuer.issuer}: {error}"}
    except AnchorsError as error:
        raise Refusal(Kind.INPUT, f"trust anchors for {issuer.issuer}: {error}") from error
    found = [{"kid": one.id, "key": _kind(one), "algorithm": one.algorithm} for one in keys]
    return {"keys": found, "token": _judged(issuer, token, verdict) if verdict else None, "failure": ""}


async def _looked(
    settings: Settings, directory: Directory, issuer: OauthIssuer, token: str
) -> tuple[tuple[IssuerKey, ...], TokenVerdict | None]:
    from gatepost.mail.inbound.tokens import judge_token  # noqa: PLC0415 - as above
    from gatepost.net.lookups.issuer_keys import IssuerKeys  # noqa: PLC0415

    resolver = resolver_of(settings)
    tenants = settings.network.policy()
    keys = IssuerKeys(resolver, settings.oauth, settings.tls.trust_anchors, tenants=tenants)
    try:
        fetched = await keys.fetch(issuer)
        return fetched, await judge_token(directory, keys, token, "") if token else None
    finally:
        await keys.close()
        await resolver.close()


def _kind(key: IssuerKey) -> str:
    return type(key.key).__name__.removesuffix("PublicKey")


def _advice(issuer: OauthIssuer, failed: HttpFailed) -> str:
    if failed.forbidden and not issuer.ungranted:
        return "; write private_issuers = true under [oauth] if it is your own"
    return "; write trust_anchors if its authority is your own" if failed.untrusted else ""


def _judged(issuer: OauthIssuer, token: str, verdict: TokenVerdict) -> dict[str, Any]:
    claims = _claims(issuer, token)
    return {"user": verdict.user, "reason": verdict.reason, "temporary": verdict.temporary, "claims": claims}


def _claims(issuer: OauthIssuer, token: str) -> dict[str, Any]:
    """The claims that decide, as the token has them."""
    import jwt  # noqa: PLC0415 - as above

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return {}
    return {name: claims[name] for name in (*_SHOWN, issuer.username_claim) if name in claims}
