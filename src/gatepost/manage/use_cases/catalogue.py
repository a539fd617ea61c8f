"""Every use case that is declared, in the order of docs/use-cases.md and of the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.use_cases import (
    alarms,
    audit,
    destinations,
    explain,
    explain_past,
    flows,
    own_account,
    queue,
    status,
    tokens,
    users,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.declaration import UseCase


USE_CASES: Final[Sequence[UseCase[Any, Any]]] = (
    *status.USE_CASES,
    *alarms.USE_CASES,
    *queue.USE_CASES,
    *destinations.USE_CASES,
    *explain.USE_CASES,
    *explain_past.USE_CASES,
    *flows.USE_CASES,
    *users.USE_CASES,
    *own_account.USE_CASES,
    *tokens.USE_CASES,
    *audit.USE_CASES,
)
