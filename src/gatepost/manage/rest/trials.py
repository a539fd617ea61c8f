"""What a gateway asks of others for parts of its resources: scanners of content hooks, OAuth issuers.

A call waits until it has ended. Each counts among the runs that are under way (`manage.use_cases.jobs`).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Endpoint, Reach
from gatepost.manage.rest.problem import Problem
from gatepost.manage.use_cases.content_trials import try_hook
from gatepost.manage.use_cases.issuer_trials import try_issuer
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.web.problem import ProblemType
from gatepost.policy.connectors.errors import FieldError
from gatepost.protocols.smtp.oauth import TOKEN_OCTETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.rest.endpoint import Asked


_MOST: Final = 48 * 1024 * 1024  # a message of 32 MB as base64, and some
_PATIENCE: Final = 240.0  # seconds; a hook may be told to wait for longer, and goes on then among the runs
_OWNER = {"organization": "Whose it is."}

type _Text = Annotated[str, Meta(max_length=1000)]


class TryHook(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """hook: its name. message: base64, to ask about instead of the samples; lines end in CRLF."""

    hook: _Text
    message: str | None = None


class HookTrial(msgspec.Struct):
    """One message. must_be_refused: null where nobody can say. right: it came out as it must.

    reply: what a sender would be told if the hook were in force, "" if the message passes. answer: as the trace has it.
    """

    message: str
    answered: bool
    must_be_refused: bool | None
    right: bool
    reply: str
    answer: dict[str, Any]


class HookTrials(msgspec.Struct):
    """What a scanner said, as `gatepost hook check --json` prints it."""

    hook: str
    organization: str
    type: str
    address: str
    trials: list[HookTrial]


class TryIssuer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """issuer: its name. token: an access token to be judged; it is kept nowhere."""

    issuer: _Text
    token: Annotated[str, Meta(max_length=TOKEN_OCTETS + 2)] = ""


class TrialKey(msgspec.Struct):
    """A key that signs tokens."""

    kid: str
    key: str
    algorithm: str


class JudgedToken(msgspec.Struct):
    """user: whom it logs in, "" for nobody; reason: why not. temporary: it could not be judged now."""

    user: str
    reason: str
    temporary: bool
    claims: dict[str, Any]


class IssuerTrial(msgspec.Struct):
    """What an issuer said, as `gatepost issuer check --json` prints it. failure: why it cannot be used."""

    keys: list[TrialKey]
    token: JudgedToken | None
    failure: str


@dataclass(frozen=True, slots=True)
class _Part:
    """What a run is about."""

    organization: str
    text: str
    kind: str = "trial"


def _hook(asked: Asked) -> dict[str, Any]:
    body: TryHook = asked.body
    asked.told[0].subject = body.hook
    owner, message = asked.path["organization"], _decoded(body.message)
    return _ended(asked, body.hook, lambda: try_hook(asked.gateway, asked.principal, body.hook, owner, message))


def _issuer(asked: Asked) -> dict[str, Any]:
    body: TryIssuer = asked.body
    asked.told[0].subject = body.issuer
    owner = asked.path["organization"]
    return _ended(
        asked, body.issuer, lambda: try_issuer(asked.gateway, asked.principal, body.issuer, owner, body.token)
    )


def _ended(asked: Asked, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What came of it. Raises Refusal, Problem."""
    run = asked.gateway.kept(Jobs).start(_Part(asked.path["organization"], name), asked.principal, lambda _: work())
    run.wait(_PATIENCE)
    if run.refusal is not None:
        raise run.refusal
    if run.result is None:
        raise Refusal(Kind.UNREADABLE, run.trouble or f"{name}: it has not ended after {_PATIENCE:.0f} seconds")
    return run.result


def _decoded(message: str | None) -> bytes | None:
    try:
        return None if message is None else base64.b64decode(message, validate=True)
    except (binascii.Error, ValueError):
        why = [FieldError("message", "is no base64")]
        raise Problem(ProblemType.INVALID, "1 error(s); nothing was asked.", why) from None


ENDPOINTS = (
    Endpoint(
        "POST",
        "/organizations/{organization}/hook_trials",
        "Ask the scanner of a content hook about samples, or about a message",
        _hook,
        HookTrials,
        Scope.CONNECTORS,
        Reach.ORGANIZATION,
        "content hooks",
        body=TryHook,
        most=_MOST,
        seeks=True,
        action="hook-check",
        parameters=_OWNER,
        description="Waits for the scanner, for four minutes at most. Nothing is delivered.",
    ),
    Endpoint(
        "POST",
        "/organizations/{organization}/issuer_trials",
        "Fetch the keys of an OAuth issuer, and judge a token by them",
        _issuer,
        IssuerTrial,
        Scope.CONNECTORS,
        Reach.ORGANIZATION,
        "oauth issuers",
        body=TryIssuer,
        seeks=True,
        action="issuer-check",
        parameters=_OWNER,
        description="Waits for the issuer. The token is kept nowhere.",
    ),
)
