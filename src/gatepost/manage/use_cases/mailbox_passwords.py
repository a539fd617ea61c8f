"""Set and remove the password with which a mailbox's owner submits mail. No interface shows it, or what is kept of it.

Used by `gatepost mailbox password` and over REST.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from gatepost.mail.inbound.credentials import content_name, make_credential
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.change import NOTHING
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.name_lookup import MAILBOX, Part, choose_part
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing
from gatepost.policy.logins.passwords import PasswordError

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context, Gateway


use_case = use_cases(scope=Scope.CONNECTORS, visibility=Visibility.ORGANIZATION, tag="mailboxes")
_PATH: Final = "/organizations/{organization}/mailbox_passwords/{address:path}"

type _Owner = Annotated[str, Meta(description="Whose mailbox it is.")]
type _Address = Annotated[str, Meta(description="Of the mailbox.")]


class RemoveMailboxPassword(msgspec.Struct, kw_only=True):
    """The password of a mailbox."""

    organization: _Owner
    address: _Address


class MailboxPassword(RemoveMailboxPassword, kw_only=True):
    """password: 8 to 256 characters, after they were prepared (RFC 4013)."""

    password: Annotated[str, Meta(max_length=4096)]


class PasswordChanged(msgspec.Struct):
    """address: as the mailbox has it. can_log_in: whether it has a password now."""

    address: str
    can_log_in: bool


@use_case(f"PUT {_PATH}", action="mailbox-password")
def set_mailbox_password(context: Context, request: MailboxPassword) -> PasswordChanged:
    """Set the password with which a mailbox's owner submits mail.

    It counts for the next log-in; sessions that are logged in go on.
    """
    return PasswordChanged(_changed(context, request, request.password), can_log_in=True)


@use_case(f"DELETE {_PATH}", action="mailbox-password")
def remove_mailbox_password(context: Context, request: RemoveMailboxPassword) -> PasswordChanged:
    """Remove the password of a mailbox: nobody can log in to it then."""
    context.audit.describe(removed=True)
    return PasswordChanged(_changed(context, request, None), can_log_in=False)


def _changed(context: Context, request: RemoveMailboxPassword, password: str | None) -> str:
    """The address as the mailbox has it.

    Raises Refusal: MISSING if there is no such mailbox, INPUT for a password that cannot be one, BLOCKED if its domain
    is pending or disputed, UNREADABLE.
    """
    part = choose_part(context.seen(), MAILBOX, request.address, request.organization)
    _counts(context.gateway, part)
    data = None if password is None else _encoded(password, part.organization.name)
    with context.config() as store:
        store.apply({}, author=context.principal.name, content={content_name(part.name): data})
    return part.name


def _counts(gateway: Gateway, part: Part) -> None:
    """Refuse a mailbox that does not count: the address is somebody else's, or may be."""
    domain = part.name.rpartition("@")[2]
    if not gateway.directory().accepts(part.organization.name, domain):
        text = (
            f"{domain} is not verified as a domain of {part.organization.name}, so that nobody can log in to "
            f"{part.name}: gatepost domain verify {domain}, then set the password; {NOTHING}"
        )
        raise Refusal(RefusalKind.BLOCKED, text)


def _encoded(password: str, organization: str) -> bytes:
    with refusing(RefusalKind.INPUT, PasswordError, text=f"{{error}}; {NOTHING}", field="password"):
        return make_credential(password, organization, time.time()).encode()
