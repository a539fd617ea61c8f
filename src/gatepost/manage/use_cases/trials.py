"""Try an OAuth issuer or a content hook, from where the gateway stands and by the code that handles real mail.

The keys of the issuer are fetched, and a token is judged by them. The scanner of a hook is asked about a harmless
message, and one that it must find, whether the hook is enabled or not. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.jobs import TrialSubject, run_to_end
from gatepost.manage.use_cases.listener_checks import resolver_of
from gatepost.manage.use_cases.name_lookup import HOOK, ISSUER, choose_part, visible
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.net.own_addresses import reach_of_tenants
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.hook_index import ApplicableHook
from gatepost.protocols.smtp.oauth import TOKEN_OCTETS

if TYPE_CHECKING:
    from gatepost.analysis.checks import content_hook
    from gatepost.manage.use_cases.context import Context
    from gatepost.net.lookups.http import HttpFailed
    from gatepost.net.lookups.jwks import IssuerKey
    from gatepost.policy.connectors.oauth import OauthIssuer
    from gatepost.policy.decisions.oauth import TokenVerdict
    from gatepost.settings.model import Settings


use_case = use_cases(scope=Scope.CONNECTORS, visibility=Visibility.ORGANIZATION, may_404=True)
_SHOWN: Final = ("iss", "aud", "exp", "scope", "scp")


class TryIssuer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """issuer: its name. token: an access token to be judged; it is kept nowhere."""

    organization: Annotated[str, Meta(description="Whose it is.")]
    issuer: Annotated[str, Meta(max_length=1000)]
    token: Annotated[str, Meta(max_length=TOKEN_OCTETS + 2)] = ""


class TrialKey(msgspec.Struct, frozen=True):
    """A key that signs tokens."""

    kid: str
    key: str
    algorithm: str


class JudgedToken(msgspec.Struct, frozen=True):
    """user: whom it logs in, "" for nobody; reason: why not. temporary: it could not be judged now."""

    user: str
    reason: str
    temporary: bool
    claims: dict[str, Any]


class IssuerTrial(msgspec.Struct, frozen=True):
    """Result of testing an issuer, as `gatepost issuer check --json` prints it. failure: why it cannot be used."""

    keys: list[TrialKey]
    token: JudgedToken | None
    failure: str


@use_case("POST /organizations/{organization}/issuer_trials", tag="oauth issuers", action="issuer-check")
def try_issuer(context: Context, request: TryIssuer) -> IssuerTrial:
    """Fetch the keys of an OAuth issuer, and judge a token by them.

    Waits for the issuer. The token is kept nowhere.
    """
    context.audit.describe(subject=request.issuer)
    directory = context.directory()
    resources = visible(directory.resources, context.principal)  # a token of others says nothing of theirs
    own = Directory(resources, directory.version)
    issuer: OauthIssuer = choose_part(resources, ISSUER, request.issuer, request.organization).record
    work = partial(_tried, context.settings, own, issuer, request.token)
    return run_to_end(context, TrialSubject(request.organization, request.issuer), work)


def _tried(settings: Settings, directory: Directory, issuer: OauthIssuer, token: str) -> IssuerTrial:
    """Raises Refusal: INPUT if trust anchors cannot be read, UNREADABLE if it cannot be asked now."""
    from gatepost.net.anchors import AnchorsError  # noqa: PLC0415
    from gatepost.net.lookups.http import HttpFailed  # noqa: PLC0415 - only a trial needs it
    from gatepost.net.lookups.jwks import JwksError  # noqa: PLC0415

    try:
        keys, verdict = asyncio.run(_looked(settings, directory, issuer, token))
    except HttpFailed as failed:
        text = f"keys of {issuer.issuer}: {failed}{_advice(issuer, failed)}"
        if failed.temporary:
            raise Refusal(RefusalKind.UNREADABLE, text) from failed
        return IssuerTrial([], None, text)
    except JwksError as error:
        return IssuerTrial([], None, f"keys of {issuer.issuer}: {error}")
    except AnchorsError as error:
        raise Refusal(RefusalKind.INPUT, f"trust anchors for {issuer.issuer}: {error}") from error
    shown = [TrialKey(key.id, _kind(key), key.algorithm) for key in keys]
    return IssuerTrial(shown, _judged(issuer, token, verdict) if verdict else None, "")


async def _looked(
    settings: Settings, directory: Directory, issuer: OauthIssuer, token: str
) -> tuple[tuple[IssuerKey, ...], TokenVerdict | None]:
    from gatepost.mail.inbound.tokens import judge_token  # noqa: PLC0415 - as above
    from gatepost.net.lookups.issuer_keys import IssuerKeys  # noqa: PLC0415

    resolver = resolver_of(settings)
    tenants = reach_of_tenants(settings)
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


def _judged(issuer: OauthIssuer, token: str, verdict: TokenVerdict) -> JudgedToken:
    return JudgedToken(verdict.user, verdict.reason, verdict.temporary, _claims(issuer, token))


def _claims(issuer: OauthIssuer, token: str) -> dict[str, Any]:
    """The claims that decide, as the token has them."""
    import jwt  # noqa: PLC0415 - as above

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return {}
    return {name: claims[name] for name in (*_SHOWN, issuer.username_claim) if name in claims}


_MAX_BODY = 48 * 1024 * 1024  # a message of 32 MB as base64, and some


class TryHook(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """hook: its name. message: base64, to ask about instead of the samples; lines end in CRLF."""

    organization: Annotated[str, Meta(description="Whose it is.")]
    hook: Annotated[str, Meta(max_length=1000)]
    message: bytes | None = None


class HookTrial(msgspec.Struct, frozen=True):
    """One message. must_be_refused: null where nobody can say. right: it came out as it must.

    reply: what a sender would be told if the hook were in force, "" if the message passes. answer: as the trace has it.
    """

    message: str
    answered: bool
    must_be_refused: bool | None
    right: bool
    reply: str
    answer: dict[str, Any]


class HookTrials(msgspec.Struct, frozen=True):
    """Answers of a scanner, as `gatepost hook check --json` prints it."""

    hook: str
    organization: str
    type: str
    address: str
    trials: list[HookTrial]


@use_case(
    "POST /organizations/{organization}/hook_trials", tag="content hooks", max_body=_MAX_BODY, action="hook-check"
)
def try_hook(context: Context, request: TryHook) -> HookTrials:
    """Ask the scanner of a content hook about samples, or about a message.

    Waits for the scanner, for four minutes at most. Nothing is delivered.
    """
    context.audit.describe(subject=request.hook)
    part = choose_part(context.seen(), HOOK, request.hook, request.organization)
    applicable_hook = ApplicableHook(part.organization.name, part.record)

    def work() -> HookTrials:
        trials = asyncio.run(_hook_tried(applicable_hook, context.settings, request.message))
        hook = applicable_hook.hook
        return HookTrials(
            hook.name, applicable_hook.organization, str(hook.type), hook.address, list(map(_shape, trials))
        )

    return run_to_end(context, TrialSubject(request.organization, request.hook), work)


async def _hook_tried(hook: ApplicableHook, settings: Settings, message: bytes | None) -> list[content_hook.Trial]:
    from gatepost.analysis.checks import content_hook  # noqa: PLC0415 - only a trial needs what it imports

    hostname = settings.server.hostname
    messages: dict[str, tuple[bytes, bool | None]] = {"message": (message, None)} if message is not None else {}
    messages = messages or {**content_hook.samples(hook.hook.type, hostname, time.time())}
    async with resolver_of(settings) as resolver:
        return await content_hook.try_hook(hook, messages, hostname, resolver, reach_of_tenants(settings))


def _shape(trial: content_hook.Trial) -> HookTrial:
    return HookTrial(trial.message, trial.answered, trial.refused, trial.right, trial.reply, trial.record)
