"""Every use case that is declared, in the order of docs/use-cases.md and of the OpenAPI document."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.use_cases.declaration import UseCase
from gatepost.manage.use_cases.part_cases import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

# Modules of this package that declare use cases: those before the cases of a kind of part, and those behind them.
_BEFORE_PARTS: Final = (
    "status", "work_list", "nodes", "alarms", "doctor", "quarantine", "queue", "queue_actions", "destinations",
    "sending_limits", "explain", "explain_past", "connectors", "connector_views", "rehearsal", "validation_runs",
    "drills", "partner", "trials", "trace", "reports", "tls_reports", "evidence", "evidence_export",
    "certificates", "certificate_import", "certificate_requests", "certificate_removal", "certificate_table",
    "certificate_views", "changeover", "changeover_steps", "acme_renewal", "users", "entrance", "passkey_login",
    "issuer_login", "own_account", "tokens", "audit", "first_setup", "resource_cases", "resource_views", "history",
)  # fmt: skip
_BEHIND_PARTS: Final = (
    "domain_verification", "mta_sts", "ungranted", "mailbox_passwords", "login_secrets", "resource_actions",
    "bulk_validation", "dkim", "dkim_changes", "srs_keys", "publication",
)  # fmt: skip


def declared_in(*modules: ModuleType) -> Sequence[UseCase[Any, Any]]:
    """The use cases that these modules declare, not those that they import, in the order in which they stand there."""
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, UseCase) and value.function.__module__ == module.__name__
    ]


def _declared(names: Iterable[str]) -> Sequence[UseCase[Any, Any]]:
    return declared_in(*(import_module(f"{__package__}.{name}") for name in names))


USE_CASES: Final[Sequence[UseCase[Any, Any]]] = (
    *_declared(_BEFORE_PARTS),
    *(case for cases in PARTS.values() for case in cases),
    *_declared(_BEHIND_PARTS),
)
