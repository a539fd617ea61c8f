"""Every use case that is declared, in the order of docs/use-cases.md and of the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.use_cases import alarms, evidence, evidence_export, reports, status, tls_reports, trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.declaration import UseCase


USE_CASES: Final[Sequence[UseCase[Any, Any]]] = (
    *status.USE_CASES,
    *alarms.USE_CASES,
    *trace.USE_CASES,
    *reports.USE_CASES,
    *tls_reports.USE_CASES,
    *evidence.USE_CASES,
    *evidence_export.USE_CASES,
)
