"""What the audit keeps of calls: every one that is not safe, whether it was done or refused, so that none is forgotten.

`manage.rest.serving` calls it after each. What a use case keeps itself is not kept twice: users and tokens are written
with their audit event, changes of resources are in the history, and what `web` refuses is on record there
(`manage.web.record`). A dry run that was allowed is no audit event.
"""

from __future__ import annotations

import re
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.access.records import Actor, Outcome
from gatepost.manage.rest.endpoint import Reach, Told
from gatepost.manage.use_cases.execution import CHANGE
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.rest.endpoint import Asked, Endpoint
    from gatepost.manage.rest.problem import Problem


_BRACES: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_BY_WEB: Final = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.MISDIRECTED_REQUEST}
)


def told_of(endpoint: Endpoint, path: Mapping[str, str]) -> Told:
    """What is known of a call by its path alone."""
    organization = path.get("organization", "")
    where = _BRACES.sub(lambda found: path[found[1]], endpoint.path)
    if endpoint.guarded and not endpoint.action:
        return Told(CHANGE, organization, f"{endpoint.method} {where}")
    if not endpoint.action:
        return Told("request", organization, f"{endpoint.method} {where}")
    return Told(endpoint.action, organization, " ".join(text for name, text in path.items() if name != "organization"))


def keep_done(endpoint: Endpoint, asked: Asked) -> None:
    """A call that was done. Raises StoreFailure."""
    if endpoint.is_kept and not endpoint.keeps_itself and not asked.dry_run:
        _write(asked.accounts, asked.by, asked.told, Outcome.DONE)


def keep_refused(
    accounts: Accounts, endpoint: Endpoint, who: Principal, address: str, told: Iterable[Told], problem: Problem
) -> None:
    """A call that was refused, or failed; if that cannot be written the answer is the problem all the same."""
    status = problem.kind.value.status
    seen = all(who.sees(one.organization) for one in told) or endpoint.reach is not Reach.ORGANIZATION
    if not endpoint.is_kept or status in _BY_WEB or not seen:
        return
    outcome = Outcome.REFUSED if status < HTTPStatus.INTERNAL_SERVER_ERROR else Outcome.FAILED
    why = "; ".join(map(str, problem.errors)) or problem.detail
    with suppress(StoreFailure):
        _write(accounts, Actor(who.name, address), told, outcome, why=why)


def _write(accounts: Accounts, by: Actor, told: Iterable[Told], outcome: Outcome, **more: Any) -> None:
    for one in told:
        accounts.record(
            by,
            one.action,
            outcome=outcome,
            organization=one.organization,
            subject=one.subject,
            detail={key: value for key, value in (one.detail | more).items() if value not in ("", None, [], {})},
        )
