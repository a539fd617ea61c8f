"""Single addresses of an accepted domain's list of recipients: added and removed, one or many, the others stay.

Used by `gatepost domain recipients`, over REST and by the page of a domain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, field

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.change import Edit, change
from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest, change_reply, options_of
from gatepost.manage.use_cases.declaration import UseCaseReply, Visibility, use_case
from gatepost.manage.use_cases.name_lookup import DOMAIN, choose_part
from gatepost.manage.use_cases.resources import part_set
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.names import mail_address
from gatepost.policy.connectors.recipients import recipient_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.context import Context
    from gatepost.policy.connectors.resources import Resources


_MOST = 100_000
type _Addresses = Annotated[list[Annotated[str, Meta(max_length=500)]], Meta(max_length=_MOST)]


class ChangeRecipients(ChangeRequest, kw_only=True):
    """add, remove: addresses of the domain. What is in the list already, or is not in it, changes nothing."""

    organization: Annotated[str, Meta(description="Whose domain it is.")]
    domain: Annotated[str, Meta(description="The accepted domain.")]
    add: _Addresses = field(default_factory=list)
    remove: _Addresses = field(default_factory=list)


@use_case(
    "POST /organizations/{organization}/recipients/{domain:path}",
    scope=Scope.CONNECTORS,
    visibility=Visibility.ORGANIZATION,
    tag="accepted domains",
    dry_run=True,
    guarded=True,
    versioned=True,
    may_404=True,
)
def change_recipients(context: Context, request: ChangeRecipients) -> UseCaseReply[ChangeReport]:
    """Add addresses to the list of an accepted domain's recipients, and remove others.

    If one is no address of the domain nothing changes, and all that are wrong are named. An address that is both added
    and removed is in the list afterwards.
    """

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        part = choose_part(resources, DOMAIN, request.domain, request.organization)
        listed, errors = _changed(part.record.recipients, request)
        edit = part_set(part, {"recipients": listed or None}, draft)
        edit.errors += errors
        return edit

    outcome = change(context.gateway, context.principal, step, options_of(context, request))
    return change_reply(context, outcome)


def _changed(listed: Sequence[str], request: ChangeRecipients) -> tuple[list[str], list[FieldError]]:
    """The new list, in the order of the old one with new addresses behind it, and what is wrong with the request."""
    added, errors = _read("add", request.add)
    removed, wrong = _read("remove", request.remove)
    known = {recipient_key(address): address for address in listed}
    kept = {key: address for key, address in known.items() if key not in removed or key in added}
    return list((kept | {key: address for key, address in added.items() if key not in kept}).values()), errors + wrong


def _read(field: str, addresses: Sequence[str]) -> tuple[dict[str, str], list[FieldError]]:
    """The addresses by the form in which they are the same, and those that are none."""
    by_key, errors = {}, []
    for place, text in enumerate(addresses):
        try:
            address = mail_address(text.strip())
            by_key[recipient_key(address)] = address
        except ValueError as error:
            errors.append(FieldError(f"{field}[{place}]", str(error)))
    return by_key, errors
