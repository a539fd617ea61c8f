"""Every use case that is declared, in the order of docs/use-cases.md and of the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.use_cases import (
    acme_orders,
    acme_renewal,
    alarms,
    audit,
    certificate_intake,
    certificate_removal,
    certificate_requests,
    certificate_table,
    certificates,
    changeover,
    changeover_steps,
    connectors,
    content_trials,
    destinations,
    drills,
    evidence,
    evidence_export,
    explain,
    explain_past,
    flows,
    issuer_trials,
    own_account,
    partner,
    queue,
    rehearsal,
    reports,
    status,
    tls_reports,
    tokens,
    trace,
    users,
    validation_runs,
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
    *connectors.USE_CASES,
    *rehearsal.USE_CASES,
    *validation_runs.USE_CASES,
    *drills.USE_CASES,
    *partner.USE_CASES,
    *content_trials.USE_CASES,
    *issuer_trials.USE_CASES,
    *trace.USE_CASES,
    *reports.USE_CASES,
    *tls_reports.USE_CASES,
    *evidence.USE_CASES,
    *evidence_export.USE_CASES,
    *certificates.USE_CASES,
    *certificate_intake.USE_CASES,
    *certificate_requests.USE_CASES,
    *certificate_removal.USE_CASES,
    *certificate_table.USE_CASES,
    *changeover.USE_CASES,
    *changeover_steps.USE_CASES,
    *acme_orders.USE_CASES,
    *acme_renewal.USE_CASES,
    *users.USE_CASES,
    *own_account.USE_CASES,
    *tokens.USE_CASES,
    *audit.USE_CASES,
)
