"""Checks of names, organizations and scopes of accounts, and cleaning of text that strangers sent. Pure.

Used by the modules `access.*_rows`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatepost.manage.access.records import AccountError, AccountErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.errors import FieldError


_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_ORGANIZATIONS = 1000


def normalize_username(name: str) -> str:
    """The name of an account as it is kept, "" if there can be none of that name."""
    lower = name.strip().lower()[:100]
    return lower if _NAME.fullmatch(lower) else ""


def account_name(name: str) -> str:
    """The same for a new account. Raises ValueError."""
    if text := normalize_username(name):
        return text
    raise ValueError("a name has 1 to 64 letters a to z, digits and . _ @ + -, and begins with a letter or digit")


def chosen_organizations(names: Iterable[str] | None, *, owner: bool) -> frozenset[str] | None:
    """The organizations of an account. owner: whether it is one. Raises ValueError."""
    if names is None:
        return None
    if owner:
        raise ValueError("an owner administers the whole gateway; name no organizations, or another role or scope")
    result = frozenset(names)
    if not result or "" in result:
        raise ValueError("name at least one organization, or none of them for the whole gateway")
    if len(result) > _ORGANIZATIONS:
        raise ValueError(f"more than {_ORGANIZATIONS} organizations; give the whole gateway instead")
    return result


def refuse(errors: list[FieldError]) -> None:
    """Raise AccountError with all of them, if there are any."""
    if errors:
        raise AccountError(AccountErrorKind.INPUT, "; ".join(map(str, errors)), errors)


def cleaned(text: str, most: int) -> str:
    """At most so many characters of a text, without what a table cannot hold: half of a surrogate pair, and NUL."""
    return text[:most].encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
