"""Changes of resources that say what to do, instead of what to write: each is one change and one entry of the history.

Many connectors are enabled, disabled, enforced or put in rehearsal at once; addresses of a list of recipients are added
and removed; a partner's own authority, which a validation saw, becomes a trust anchor, if its fingerprint was compared
by another way; and the resources become again what they were at an earlier version, checked as any other change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, field

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases import name_lookup, resources
from gatepost.manage.use_cases.change import Edit, change
from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest, change_reply, fields_of, options_of
from gatepost.manage.use_cases.declaration import Cli, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.history import HistoryEntry, earlier_organizations, history, history_entry
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, wrong_field
from gatepost.manage.use_cases.resources import PartName, part_set
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.names import mail_address
from gatepost.policy.connectors.recipients import recipient_key
from gatepost.policy.connectors.trust_anchors import is_pem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.manage.use_cases.context import Context
    from gatepost.policy.connectors.resources import Resources


use_case = use_cases(scope=Scope.CONNECTORS, dry_run=True, guarded=True, versioned=True)

MOST: Final = 2000
"""Connectors that one change switches, at most."""
_KINDS: Final = {"inbound": name_lookup.INBOUND, "outbound": name_lookup.OUTBOUND}
_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "enable": {"enabled": True},
    "disable": {"enabled": False},
    "enforce": {"mode": None},
    "rehearse": {"mode": "rehearse"},
}

type SwitchAction = Literal["enable", "disable", "enforce", "rehearse"]


class ConnectorName(msgspec.Struct, frozen=True, kw_only=True):
    """One connector."""

    organization: Annotated[str, Meta(max_length=100)]
    direction: Literal["inbound", "outbound"]
    name: Annotated[str, Meta(max_length=200)]


class SwitchConnectors(ChangeRequest, kw_only=True):
    """action: enforce: refuse or hold back mail that does not meet the requirements; rehearse: only report it."""

    action: SwitchAction
    connectors: Annotated[list[ConnectorName], Meta(min_length=1, max_length=MOST)]


@use_case("POST /connectors/actions", visibility=Visibility.SEEN, tag="connectors")
def switch_connectors(context: Context, request: SwitchConnectors) -> UseCaseReply[ChangeReport]:
    """Enable, disable, enforce or rehearse connectors, all of them or none."""
    names = dict.fromkeys(connector.name for connector in request.connectors)
    context.audit.describe(subject=f"connectors {request.action}")
    context.audit.name(*names)

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        edits = []
        for connector in dict.fromkeys(request.connectors):
            kind = _KINDS[connector.direction]
            part = name_lookup.choose_part(resources, kind, connector.name, connector.organization)
            edits.append(part_set(part, _FIELDS[request.action], draft))
        return Edit(
            tuple(dict.fromkeys(name for edit in edits for name in edit.organizations)),
            names=tuple(name for edit in edits for name in edit.names),
            errors=[FieldError(f"{edit.path}.{error.path}", error.message) for edit in edits for error in edit.errors],
        )

    return change_reply(context, change(context.gateway, context.principal, step, options_of(context, request)))


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
    visibility=Visibility.ORGANIZATION,
    tag="accepted domains",
    may_404=True,
)
def change_recipients(context: Context, request: ChangeRecipients) -> UseCaseReply[ChangeReport]:
    """Add addresses to the list of an accepted domain's recipients, and remove others.

    If one is not an address of the domain nothing changes, and all that are wrong are named. An address that is both
    added and removed is in the list afterwards.
    """

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        part = name_lookup.choose_part(resources, name_lookup.DOMAIN, request.domain, request.organization)
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


_BETWEEN: Final = str.maketrans("", "", ": \t\r\n")


class SeenIssuer(msgspec.Struct, frozen=True):
    """An authority that a host presented. sha256: of its certificate. pem: the certificate."""

    host: str
    subject: str
    issuer: str
    sha256: str
    not_before: float
    not_after: float
    pem: str

    @property
    def fingerprint(self) -> str:
        """The SHA-256 as people compare it: pairs in capital letters."""
        return ":".join(self.sha256[place : place + 2] for place in range(0, len(self.sha256), 2)).upper()


class TrustIssuer(ChangeRequest, kw_only=True):
    """sha256: of the issuer's certificate, as it was compared with the partner by another way."""

    organization: Annotated[str, Meta(max_length=100)]
    connector: Annotated[str, Meta(max_length=200, description="Outbound connector."), Cli(argument=True)]
    sha256: Annotated[
        str,
        Meta(
            max_length=200,
            description="SHA-256 fingerprint of the issuer, confirmed over another channel; colons may stand in it.",
        ),
        Cli(metavar="FINGERPRINT"),
    ]


def seen_issuers(record: Mapping[str, Any] | None) -> list[SeenIssuer]:
    """The issuers that hosts presented, of the record of a validation; each once."""
    issuers: dict[str, SeenIssuer] = {}
    for host in (record or {}).get("hosts", ()):
        if issuer := host.get("issuer"):
            issuers.setdefault(issuer["sha256"], SeenIssuer(host=host["host"], **issuer))
    return list(issuers.values())


@use_case(
    "POST /organizations/{organization}/trusted_issuers/{connector:path}",
    visibility=Visibility.ORGANIZATION,
    tag="connectors",
    may_404=True,
)
def trust_issuer(context: Context, request: TrustIssuer) -> UseCaseReply[ChangeReport]:
    """Add the issuer that the last validation saw to the trust anchors of a connector.

    Confirm its fingerprint with the partner over another channel than this connection first.
    """
    from gatepost.manage.use_cases.validation import last_validation  # noqa: PLC0415 - the other actions need none

    chosen = name_lookup.choose_connector(context.seen(), request.connector, request.organization, "outbound")
    wanted = request.sha256.translate(_BETWEEN).lower()
    known = seen_issuers(last_validation(context.gateway, chosen))
    match = next((issuer for issuer in known if issuer.sha256 == wanted), None)
    if match is None:
        said = ", ".join(issuer.fingerprint for issuer in known) or "none; validate the connector again"
        text = f"the last validation saw no issuer with this fingerprint; it saw: {said}"
        raise wrong_field("sha256", text, "Nothing was done.")
    anchors = chosen.connector.trust_anchors
    kept = anchors if is_pem(anchors) else ""
    part = PartName(name_lookup.OUTBOUND, chosen.organization.name, chosen.connector.name)
    fields = {"trust_anchors": kept + match.pem}
    outcome = resources.set_part(context.gateway, context.principal, part, fields, options_of(context, request))
    return change_reply(context, outcome)


_LISTED: Final = 100  # changes that are taken back, of which who made them is told


class RevertResources(ChangeRequest, kw_only=True):
    """version: the resources become what they were then; with 0 what they were before the first change."""

    version: Annotated[
        int, Meta(ge=0, lt=2**62, description="Version to go back to."), Cli(argument=True, metavar="VERSION")
    ]
    organization: Annotated[
        str, Meta(max_length=100, description="Only this organization. Empty: all that you can see.")
    ] = ""


class RevertReport(ChangeReport, kw_only=True):
    """As of any change. undone: changes that it takes back, the newest first, at most 100."""

    undone: list[HistoryEntry]


@use_case("POST /history/{version}/revert", visibility=Visibility.SEEN, tag="resources")
def revert_resources(context: Context, request: RevertResources) -> UseCaseReply[RevertReport]:
    """Make the resources what they were at a version.

    Only organizations that the caller sees, and that were changed since, are touched. Keys and secrets that were
    removed with a resource do not come back; the warnings name them.
    """
    earlier = _earlier(context, request)

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        for name, table in earlier.items():
            if not context.principal.is_of_gateway:
                name_lookup.choose_organization(resources, name)
            draft.pop(name, None)
            if table is not None:
                draft[name] = table
        return Edit(tuple(earlier), restores=True)

    outcome = change(context.gateway, context.principal, step, options_of(context, request), whole=True)
    undone = _undone(context, request, outcome.version)
    return UseCaseReply(RevertReport(**fields_of(context, outcome), undone=undone), outcome.version)


def _earlier(context: Context, request: RevertResources) -> dict[str, Any]:
    """Each organization as it was, None if it was not there, of those that were changed since. Raises Refusal."""
    if request.organization and not context.principal.sees(request.organization):
        raise Refusal(RefusalKind.MISSING, f"There is no organization {request.organization!r}.")
    names = [request.organization] if request.organization else context.principal.organizations
    with context.config() as store:
        return earlier_organizations(store, request.version, names)


def _undone(context: Context, request: RevertResources, made: int) -> list[HistoryEntry]:
    """The changes between the two versions. made: the version of the revert itself, or the newest one of a dry run."""
    changes = history(
        context.gateway,
        context.principal,
        organization=request.organization,
        limit=_LISTED,
        before=0 if context.dry_run else made,
    )
    return [history_entry(change) for change in changes if change.version > request.version]
