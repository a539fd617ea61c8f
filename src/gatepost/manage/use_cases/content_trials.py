"""Trying a content hook, for every door: its scanner is asked about a harmless message, and one that it must find.

Used by `gatepost hook check`. It is asked by the code that asks for real mail, from where the gateway stands, whether
the hook is in force or not. Nothing is delivered.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from gatepost.manage.use_cases.choice import choose_part
from gatepost.manage.use_cases.parts import HOOK
from gatepost.manage.use_cases.resolving import resolver_of
from gatepost.manage.use_cases.resources import seen
from gatepost.policy.connectors.hook_index import AskedHook

if TYPE_CHECKING:
    from gatepost.analysis.checks.content_hook import Trial
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.settings.model import Settings


def try_hook(
    gateway: Gateway, who: Principal, name: str, organization: str = "", message: bytes | None = None
) -> dict[str, Any]:
    """Ask about the samples of its kind, or about a message, whose lines end in CRLF; as JSON shows it.

    Takes up to twice the hook's timeout. Raises Refusal: MISSING if there is no such hook, INPUT if it could be
    several, or the DNS cannot be asked by the settings.
    """
    part = choose_part(seen(gateway, who), HOOK, name, organization)
    asked = AskedHook(part.organization.name, part.record)
    trials = asyncio.run(_tried(asked, gateway.settings, message))
    return {
        "hook": asked.hook.name,
        "organization": asked.organization,
        "type": str(asked.hook.type),
        "address": asked.hook.address,
        "trials": [_record(one) for one in trials],
    }


async def _tried(asked: AskedHook, settings: Settings, message: bytes | None) -> list[Trial]:
    from gatepost.analysis.checks import content_hook  # noqa: PLC0415 - only a trial needs what it imports

    hostname = settings.server.hostname
    messages: dict[str, tuple[bytes, bool | None]] = {"message": (message, None)} if message is not None else {}
    messages = messages or {**content_hook.samples(asked.hook.type, hostname, time.time())}
    async with resolver_of(settings) as resolver:
        return await content_hook.try_hook(asked, messages, hostname, resolver, settings.network.policy())


def _record(trial: Trial) -> dict[str, Any]:
    return {
        "message": trial.message,
        "answered": trial.answered,
        "must_be_refused": trial.refused,
        "right": trial.right,
        "reply": trial.reply,
        "answer": trial.record,
    }
