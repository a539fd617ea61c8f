"""Warn of users and API tokens that still see what is kept of an organization that a change removes.

Called by `change_shapes` for every change of resources. Users and tokens stay when their organization goes, as a revert
brings it back; its trace, queued mail and audit stay, too, and its name is never given to another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.manage.use_cases.refusal import Refusal
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.manage.access.records import Token, User
    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.differences import FieldChange


_NAMED: Final = 10


def remaining_access(context: Context, changes: Iterable[FieldChange]) -> list[str]:
    """A sentence for the users and one for the tokens of each removed organization; for the gateway's own alone."""
    removed = [
        change.path.partition(".")[2] for change in changes if change.sign == "-" and change.path.count(".") == 1
    ]
    if not removed or not context.principal.is_of_gateway:
        return []
    try:
        users, tokens = context.accounts.users(), context.accounts.tokens()
    except (StoreFailure, Refusal):  # the change is made, and this is no reason to call it a failure
        return [f"whether users or API tokens still see what is kept of {name} is not known" for name in removed]
    return [text for name in removed for text in _warnings(name, users, tokens)]


def _warnings(organization: str, users: Iterable[User], tokens: Iterable[Token]) -> list[str]:
    warnings = []
    if names := _named(organization, users):
        warnings.append(
            f"users who still see the trace, the queued mail and the audit log of {organization}: {names}; remove or "
            "disable them, or give them other organizations"
        )
    if names := _named(organization, tokens):
        warnings.append(
            f"API tokens that still see the trace, the queued mail and the audit log of {organization}: {names}; "
            "remove them"
        )
    return warnings


def _named(organization: str, accounts: Iterable[User] | Iterable[Token]) -> str:
    names: Sequence[str] = [account.name for account in accounts if organization in (account.organizations or ())]
    return ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)
