"""Rules and warnings for the validation of recipients: what an accepted domain says of who exists behind it.

Called by `policy.connectors.rules` with drafts and by `policy.connectors.lint` with organizations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.connectors.names import covers
from gatepost.policy.connectors.recipient_graph import CLOUDS
from gatepost.policy.connectors.values import DomainType, RecipientValidation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
    from gatepost.policy.connectors.errors import Draft, FieldError
    from gatepost.policy.connectors.recipient_directory import RecipientDirectory


def check_validation(draft: Draft[AcceptedDomain]) -> Iterator[FieldError]:
    """Yield errors: a source that cannot know the recipients, and addresses of other domains."""
    domain, how = draft.value, draft.value.recipient_validation
    if draft.bad & {"name", "type", "recipient_validation", "recipients"}:
        return
    if how is not RecipientValidation.NONE and domain.type is not DomainType.INTERNAL_RELAY:
        said = (
            'the recipients of an authoritative domain are its mailboxes here; leave this out, or write type = "inter'
            'nal-relay" if a server behind the gateway has the mailboxes'
        )
        yield draft.error("recipient_validation", said)
    if how is RecipientValidation.LIST and not domain.recipients:
        said = "there is no list, so every recipient would be refused; write the addresses in recipients"
        yield draft.error("recipient_validation", said)
    yield from _sources(draft)
    for place, address in enumerate(domain.recipients):
        if not covers(domain.name, address.rpartition("@")[2]):
            said = f"{address} is not in {domain.name}; write it in the accepted domain that it belongs to"
            yield draft.error(f"recipients[{place}]", said)


def _sources(draft: Draft[AcceptedDomain]) -> Iterator[FieldError]:
    """A file or a directory that is wanted and not named, or that contradicts itself."""
    domain, how = draft.value, draft.value.recipient_validation
    if how is RecipientValidation.FILE and not domain.recipients_file and "recipients_file" not in draft.bad:
        yield draft.error("recipient_validation", "there is no file; name it in recipients_file")
    if "recipient_graph" not in draft.bad:
        yield from _graph(draft)
    if "recipient_directory" in draft.bad:
        return
    if domain.recipient_directory is not None:
        for field, said in _directory(domain.recipient_directory):
            yield draft.error(f"recipient_directory.{field}", said)
    elif how is RecipientValidation.LDAP:
        said = "there is no directory; write its servers in recipient_directory.urls"
        yield draft.error("recipient_validation", said)


def _graph(draft: Draft[AcceptedDomain]) -> Iterator[FieldError]:
    """What Microsoft Graph cannot be asked without."""
    graph = draft.value.recipient_graph
    if graph is None:
        if draft.value.recipient_validation is RecipientValidation.GRAPH:
            said = "there is no app registration; write recipient_graph.tenant_id and recipient_graph.client_id"
            yield draft.error("recipient_validation", said)
        return
    for field, value in (("tenant_id", graph.tenant_id), ("client_id", graph.client_id)):
        if not value:
            yield draft.error(f"recipient_graph.{field}", "is missing; the page of the app registration shows it")
    if graph.url not in CLOUDS and not graph.login_url:
        said = "is missing; a url that is none of Microsoft's clouds needs it"
        yield draft.error("recipient_graph.login_url", said)


def _directory(directory: RecipientDirectory) -> Iterator[tuple[str, str]]:
    """What is missing in the table, or contradicts the rest of it: the field, and what is wrong."""
    if not directory.urls:
        yield "urls", "is missing; write at least one server, such as ldaps://dc1.contoso.example"
    if directory.password_file and not directory.bind_dn:
        yield "password_file", "has an effect only with bind_dn; write the name to log in with, or leave this out"


def warn_of_validation(domain: AcceptedDomain, mailboxes: set[str], label: str) -> Iterator[str]:
    """Yield warnings. mailboxes: addresses of the organization's mailboxes, in lower case."""
    how = domain.recipient_validation
    if domain.recipients and how is RecipientValidation.NONE:
        yield f'{label}: its recipients have no effect; write recipient_validation = "list"'
    if domain.recipients_file and how is not RecipientValidation.FILE:
        yield f'{label}: its recipients_file has no effect; write recipient_validation = "file"'
    if domain.recipient_directory is not None and how is not RecipientValidation.LDAP:
        yield f'{label}: its recipient_directory has no effect; write recipient_validation = "ldap"'
    if domain.recipient_graph is not None and how is not RecipientValidation.GRAPH:
        yield f'{label}: its recipient_graph has no effect; write recipient_validation = "graph"'
    if domain.recipient_directory is not None and not domain.recipient_directory.bind_dn:
        yield (
            f"{label}: the gateway does not log in to its directory (no bind_dn); Active Directory then finds nobody, "
            "and every question fails"
        )
    if how is RecipientValidation.LIST and not domain.name.startswith("*."):
        postmaster = f"postmaster@{domain.name}"
        if postmaster not in mailboxes and postmaster not in {address.lower() for address in domain.recipients}:
            yield f"{label}: {postmaster} is not among its recipients, but RFC 5321 section 4.5.1 requires it"
