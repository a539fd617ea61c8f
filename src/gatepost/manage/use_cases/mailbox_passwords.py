"""The password with which a mailbox's owner submits mail: set and removed. No door shows it, or what is kept of it.

Used by `gatepost mailbox password` and over REST.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gatepost.mail.inbound.credentials import content_name, make_credential
from gatepost.manage.use_cases.change import NOTHING
from gatepost.manage.use_cases.choice import choose_part
from gatepost.manage.use_cases.parts import MAILBOX
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resources import seen
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.logins.passwords import PasswordError

if TYPE_CHECKING:
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.manage.use_cases.parts import Part


def set_mailbox_password(
    gateway: Gateway, who: Principal, address: str, password: str | None, organization: str = ""
) -> str:
    """Set it, or with None remove it, at once; the address as the mailbox has it. Sessions that are logged in go on.

    Raises Refusal: MISSING if there is no such mailbox, INPUT for a password that cannot be one and if it could be
    several mailboxes, BLOCKED if its domain is pending or disputed, UNREADABLE.
    """
    part = choose_part(seen(gateway, who), MAILBOX, address, organization)
    _counts(gateway, part)
    data = None if password is None else _encoded(password, part.organization.name)
    with gateway.config() as store:
        store.apply({}, author=who.name, content={content_name(part.name): data})
    return part.name


def _counts(gateway: Gateway, part: Part) -> None:
    """Refuse a mailbox that does not count: the address is somebody else's, or may be."""
    domain = part.name.rpartition("@")[2]
    if not gateway.directory().accepts(part.organization.name, domain):
        text = (
            f"{domain} is not verified as a domain of {part.organization.name}, so that nobody can log in to "
            f"{part.name}: gatepost domain verify {domain}, then set the password; {NOTHING}"
        )
        raise Refusal(Kind.BLOCKED, text)


def _encoded(password: str, organization: str) -> bytes:
    try:
        return make_credential(password, organization, time.time()).encode()
    except PasswordError as error:
        raise Refusal(Kind.INPUT, f"{error}; {NOTHING}", [FieldError("password", str(error))]) from error
