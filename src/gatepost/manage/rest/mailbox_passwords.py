"""Passwords of mailboxes, set and removed. None is ever in an answer, the audit or the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Endpoint, Reach
from gatepost.manage.use_cases.mailbox_passwords import set_mailbox_password

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked


_PATH = "/organizations/{organization}/mailbox_passwords/{address:path}"
_PARAMETERS = {"organization": "Whose mailbox it is.", "address": "Of the mailbox."}


class MailboxPassword(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """password: 8 to 256 characters, after they were prepared (RFC 4013)."""

    password: Annotated[str, Meta(max_length=4096)]


class PasswordChanged(msgspec.Struct):
    """address: as the mailbox has it. can_log_in: whether it has a password now."""

    address: str
    can_log_in: bool


def _set(asked: Asked) -> PasswordChanged:
    return PasswordChanged(_changed(asked, asked.body.password), can_log_in=True)


def _remove(asked: Asked) -> PasswordChanged:
    asked.told[0].detail["removed"] = True
    return PasswordChanged(_changed(asked, None), can_log_in=False)


def _changed(asked: Asked, password: str | None) -> str:
    path = asked.path
    return set_mailbox_password(asked.gateway, asked.principal, path["address"], password, path["organization"])


ENDPOINTS = (
    Endpoint(
        "PUT",
        _PATH,
        "Set the password with which a mailbox's owner submits mail",
        _set,
        PasswordChanged,
        Scope.CONNECTORS,
        Reach.ORGANIZATION,
        "mailboxes",
        body=MailboxPassword,
        action="mailbox-password",
        parameters=_PARAMETERS,
        description="It counts for the next log-in; sessions that are logged in go on.",
    ),
    Endpoint(
        "DELETE",
        _PATH,
        "Remove the password of a mailbox: nobody can log in to it then",
        _remove,
        PasswordChanged,
        Scope.CONNECTORS,
        Reach.ORGANIZATION,
        "mailboxes",
        action="mailbox-password",
        parameters=_PARAMETERS,
    ),
)
