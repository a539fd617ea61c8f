"""Every use case that is declared, in the order of docs/use-cases.md and of the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.use_cases import (
    alarms,
    connectors,
    dkim,
    dkim_changes,
    domain_verification,
    history,
    mailbox_passwords,
    mta_sts,
    part_cases,
    resource_cases,
    status,
    ungranted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.declaration import UseCase


USE_CASES: Final[Sequence[UseCase[Any, Any]]] = (
    *status.USE_CASES,
    *alarms.USE_CASES,
    *resource_cases.USE_CASES,
    *history.USE_CASES,
    *part_cases.USE_CASES,
    *domain_verification.USE_CASES,
    *mta_sts.USE_CASES,
    *ungranted.USE_CASES,
    *mailbox_passwords.USE_CASES,
    *connectors.USE_CASES,
    *dkim.USE_CASES,
    *dkim_changes.USE_CASES,
)
