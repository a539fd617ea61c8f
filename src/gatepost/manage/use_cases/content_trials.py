"""Trying a content hook: its scanner is asked about a harmless message, and one that it must find.

It is asked by the code that asks for real mail, from where the gateway stands, whether the hook is in force or not.
Nothing is delivered.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.admin_resolver import resolver_of
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.manage.use_cases.jobs import TrialSubject, run_to_end
from gatepost.manage.use_cases.name_lookup import HOOK, choose_part
from gatepost.policy.connectors.hook_index import ApplicableHook

if TYPE_CHECKING:
    from gatepost.analysis.checks import content_hook
    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings


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
    "POST /organizations/{organization}/hook_trials",
    scope=Scope.CONNECTORS,
    visibility=Visibility.ORGANIZATION,
    tag="content hooks",
    max_body=_MAX_BODY,
    may_404=True,
    action="hook-check",
)
def try_hook(context: Context, request: TryHook) -> HookTrials:
    """Ask the scanner of a content hook about samples, or about a message.

    Waits for the scanner, for four minutes at most. Nothing is delivered.
    """
    context.audit.describe(subject=request.hook)
    part = choose_part(context.seen(), HOOK, request.hook, request.organization)
    applicable_hook = ApplicableHook(part.organization.name, part.record)

    def work() -> HookTrials:
        trials = asyncio.run(_tried(applicable_hook, context.settings, request.message))
        hook = applicable_hook.hook
        return HookTrials(
            hook.name, applicable_hook.organization, str(hook.type), hook.address, list(map(_shape, trials))
        )

    return run_to_end(context, TrialSubject(request.organization, request.hook), work)


async def _tried(hook: ApplicableHook, settings: Settings, message: bytes | None) -> list[content_hook.Trial]:
    from gatepost.analysis.checks import content_hook  # noqa: PLC0415 - only a trial needs what it imports

    hostname = settings.server.hostname
    messages: dict[str, tuple[bytes, bool | None]] = {"message": (message, None)} if message is not None else {}
    messages = messages or {**content_hook.samples(hook.hook.type, hostname, time.time())}
    async with resolver_of(settings) as resolver:
        return await content_hook.try_hook(hook, messages, hostname, resolver, settings.network.policy())


def _shape(trial: content_hook.Trial) -> HookTrial:
    return HookTrial(trial.message, trial.answered, trial.refused, trial.right, trial.reply, trial.record)
