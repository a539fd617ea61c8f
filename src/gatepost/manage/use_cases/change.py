"""One change of the resources, whichever interface asks for it: check everything, write it, say what it did.

Used by `resources`, which says what there is to change, and by what changes resources together with something else
(DKIM keys). What a change leaves is checked by `policy.connectors.model.parse` with all other resources, and nothing is
written unless all of it is right. A change is made again on the newer version if somebody else was quicker, so that
none is lost, unless its author said which version they had looked at.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.decoding import from_json
from gatepost.manage.use_cases.differences import FieldChange, differences
from gatepost.manage.use_cases.domain_proof import pending_notes
from gatepost.manage.use_cases.granting import granting
from gatepost.manage.use_cases.name_lookup import visible
from gatepost.manage.use_cases.private_content import (
    forget_validations,
    keys_lacking,
    orphaned,
    passwords_lacking,
    secrets_lacking,
)
from gatepost.manage.use_cases.record_budget import RecordBudget, added_to_history, check_rules
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, VersionConflict
from gatepost.manage.use_cases.unknown_homes import unknown_homes
from gatepost.net.own_addresses import interface_addresses, reach_of_tenants
from gatepost.policy.connectors.errors import MOST_ERRORS, FieldError, ResourceErrors
from gatepost.policy.connectors.grants import GRANT, STORED_KINDS, mark
from gatepost.policy.connectors.lint import warnings
from gatepost.policy.connectors.maildirs import maildir_errors
from gatepost.policy.connectors.model import MOST_ENTRIES, dump, parse
from gatepost.policy.connectors.next_hop_rules import Listeners, own_smart_hosts
from gatepost.policy.connectors.publication import to_do
from gatepost.policy.connectors.resources import PrefixLimits, Resources
from gatepost.policy.connectors.unreachable import unreachable
from gatepost.policy.connectors.verification import check_together, claims, pend, top_level
from gatepost.quantity import quantity
from gatepost.store.changes import Change, ConfigConflict, ConfigStore
from gatepost.store.storage import Storage
from gatepost.times import day_text
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.blast_radius import Radius
    from gatepost.manage.use_cases.context import Gateway
    from gatepost.net.identity import ServerIdentity
    from gatepost.policy.connectors.records import Organization
    from gatepost.settings.model import Settings


NOTHING = "nothing was changed"
TRIES = 5
"""How often a change is made again that others overtook."""


@dataclass(frozen=True, slots=True)
class ChangeOptions:
    """Options of a change.

    author, note: who and why, for the history. dry_run: check it and find out what it would do, but change nothing.
    since: seconds since 1970, from when on mail is decided again then; None looks at no mail. expected: the version
    that the author looked at, None if any will do.
    """

    author: str
    note: str = ""
    dry_run: bool = False
    since: float | None = None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """Result of a change, or of its dry run.

    version: the one in force now. warnings: what to think about because of it, a sentence each; standing: what was so
    before. notes: what is left to do elsewhere. after: all resources as they are then, those too that who asked does
    not see; none of them of a change that another gateway made. radius: what it would have done to mail, if that was
    to be found out.
    """

    version: int
    dry_run: bool
    changes: list[FieldChange]
    warnings: list[str]
    standing: list[str]
    notes: list[str]
    after: Resources
    radius: Radius | None = None


@dataclass(slots=True)
class Edit:
    """Result of a step on the draft.

    organizations: those that it changed. path: of the resource, as errors name it; errors are told without it. names:
    by which warnings that concern it can be known. needed: for a removal, the sentence that what needs the resource is
    listed under. content: what is kept beside it, as `ConfigStore.apply` takes it. proven: accepted domains whose TXT
    record was just seen (`domain_verification`). restores: organizations that are new were there before, and are the
    same ones.
    """

    organizations: Sequence[str]
    path: str = ""
    names: tuple[str, ...] = ()
    errors: list[FieldError] = field(default_factory=list)
    needed: str = ""
    content: dict[str, bytes] = field(default_factory=dict)
    proven: tuple[str, ...] = ()
    restores: bool = False


type Step = Callable[[Resources, dict[str, Any]], Edit]
"""Changes the draft, the tables of all organizations by name, in place. Takes what who asks sees, and the draft."""


def change(
    gateway: Gateway, principal: Principal, step: Step, options: ChangeOptions, *, whole: bool = False
) -> ChangeResult:
    """Do one step. It may be done several times, each time on a fresh draft.

    whole: it replaces whole organizations, whatever they are. It is done again on a newer version only if no resource
    was changed meanwhile, as when the gateway noted a certificate: else it would undo what somebody else did. What is
    stored need not be usable by this version. Raises Refusal: INPUT with every error there is, BLOCKED if something
    needs what is removed, CONFLICT, UNREADABLE, and what the step raises.
    """
    is_charged = False
    with gateway.config() as store:
        for left in reversed(range(TRIES)):
            version, stored = store.load(*STORED_KINDS)
            if options.expected is not None and options.expected != version:
                raise _overtaken(version, options.expected)
            known = _stored(gateway, store, (version, stored), mends=whole and principal.is_of_gateway)
            made = _prepare(known, principal, step, gateway.settings.limits.prefixes())
            _check_files(gateway, made)
            _check_mailboxes(gateway, made)
            _check_names(store, made)
            changes = differences(stored, made.wanted)
            lacking = _lacking(gateway, store, made)
            pending = [] if options.dry_run else list(_pending(store, principal, made))
            if changes:
                _charge(gateway, principal, made, is_free=options.dry_run or is_charged)
                is_charged = True
            if changes and not options.dry_run:
                content = orphaned(store, stored, made.wanted) | made.edit.content
                try:
                    version = store.apply(
                        made.grants | made.wanted,
                        author=options.author,
                        note=options.note,
                        expected=version,
                        content=content,
                    )
                except ConfigConflict as conflict:
                    undoes = whole and store.load(*STORED_KINDS)[1] != stored
                    if left and not undoes:
                        continue
                    tries = "" if undoes else f" ({TRIES} tries, each overtaken by another change; {NOTHING})"
                    raise Refusal(RefusalKind.CONFLICT, f"{conflict}{tries}") from conflict
                forget_validations(gateway.storage, stored, made.wanted)
            break
    outcome = _result(gateway, principal, options, made, (version, changes, lacking))
    return replace(outcome, notes=[*pending, *outcome.notes])


def _charge(gateway: Gateway, principal: Principal, made: _PreparedChange, *, is_free: bool) -> None:
    """Raise Refusal where a tenant would store too much, or has changed too much in a day.

    is_free: it is not counted, as a dry run, or since it was before another change overtook it.
    """
    before = made.stored.document.get("organization", {})
    largest = gateway.settings.limits.organization_bytes
    added = added_to_history(principal, before, made.wanted["organization"], largest)
    check_rules(principal, before, made.wanted["organization"])
    if not is_free:
        gateway.kept(RecordBudget).charge(principal, added)


# ------------------------------------------------------------------------------------------------ what it becomes


@dataclass(frozen=True, slots=True)
class _Stored:
    """Stored resources. unusable: why this version cannot use it, which leaves the resources empty."""

    document: dict[str, Any]
    resources: Resources
    unusable: Refusal | None = None


def _stored(gateway: Gateway, store: ConfigStore, loaded: tuple[int, dict[str, Any]], *, mends: bool) -> _Stored:
    version, document = loaded
    try:
        return _Stored(document, gateway.resources.understood(store, version, document).resources)
    except Refusal as refusal:
        if not mends:
            raise
        return _Stored(document, Resources(), refusal)


@dataclass(frozen=True, slots=True)
class _PreparedChange:
    """A change that is right, as it can be written. after: as far as who asks sees it.

    others: organizations that who asks does not see. grants: what the gateway's owner has granted then.
    """

    stored: _Stored
    edit: Edit
    after: Resources
    others: tuple[Organization, ...]
    wanted: dict[str, dict[str, Any]]
    grants: dict[str, dict[str, Any]]


def _prepare(stored: _Stored, principal: Principal, step: Step, prefixes: PrefixLimits) -> _PreparedChange:
    # What is stored came of JSON. A copy by it takes a quarter of the time of copy.deepcopy.
    draft: dict[str, Any] = from_json(msgspec.json.encode(stored.document.get("organization", {})))
    edit = step(visible(stored.resources, principal), draft)
    if not principal.is_of_gateway:
        _pend(stored.resources, edit, draft)
    seen = {name: table for name, table in draft.items() if principal.sees(name)}
    others = tuple(
        organization for organization in stored.resources.organizations if not principal.sees(organization.name)
    )
    after = _checked({"organization": seen}, edit, (stored.resources, others), prefixes)
    granted = granting(principal, stored.resources, after, stored.document, edit.organizations)
    _refuse(edit, granted.errors)
    dumped = dump(Resources(tuple(filter(None, map(after.organization, edit.organizations)))))["organization"]
    wanted = {"organization": {name: dumped.get(name) for name in edit.organizations}}
    after = mark(after, stored.document.get(GRANT, {}) | granted.documents)
    return _PreparedChange(stored, edit, after, others, wanted, {GRANT: granted.documents})


def _pend(before: Resources, edit: Edit, draft: Mapping[str, Any]) -> None:
    """Set domains that a tenant adds to pending until they are proven, and refuse top-level domains."""
    for name in edit.organizations:
        table = draft.get(name)
        new = pend(table, before.organization(name), edit.proven) if isinstance(table, dict) else []
        edit.errors.extend(
            FieldError(
                "name" if edit.path else f"organization.{name}.accepted_domain {domain!r}.name",
                f"{domain} covers a whole top-level domain; use your own domain, such as 'b.example'",
            )
            for domain in new
            if top_level(domain)
        )


def _checked(
    document: dict[str, Any], edit: Edit, known: tuple[Resources, Sequence[Organization]], prefixes: PrefixLimits
) -> Resources:
    """The resources as the step leaves them. known: as they are stored, and those organizations that are not seen."""
    before, others = known
    field_errors = list(edit.errors)
    more: tuple[FieldError, ...] = ()
    try:
        resources = parse(document, prefixes=prefixes, most_entries=_most_entries(before, others))
        ours = claims(resources.organizations)
    except ResourceErrors as errors:
        resources, more, ours = Resources(), errors.errors, list(errors.claims)
    together = check_together(
        [*ours, *claims(others)], claims(before.organizations), {organization.name for organization in others}
    )
    more += tuple(together)
    if more and edit.needed:
        needing = "\n".join(f"  {error.path}" for error in more[:MOST_ERRORS])
        needing += f"\n  … (+{len(more) - MOST_ERRORS:,})" if len(more) > MOST_ERRORS else ""
        text = f"{edit.needed}\n{needing}\nChange or remove these first; {NOTHING}"
        raise Refusal(RefusalKind.BLOCKED, text)
    _refuse(edit, more, field_errors)
    return resources


def _most_entries(before: Resources, others: Sequence[Organization]) -> int:
    """Entries that a list of a connector may have: as many as the longest that an earlier version stored, if any.

    So what is stored can be changed, and a long list made shorter. others: organizations that are not seen.
    """
    unseen = {organization.name for organization in others}
    seen = (organization for organization in before.organizations if organization.name not in unseen)
    connectors = (part for owner in seen for part in (*owner.inbound_connectors, *owner.outbound_connectors))
    lists = (value for connector in connectors for value in vars(connector).values() if isinstance(value, list | tuple))
    return max(MOST_ENTRIES, max(map(len, lists), default=0))


def _refuse(edit: Edit, errors: Sequence[FieldError], found: Sequence[FieldError] = ()) -> None:
    """Raise Refusal (INPUT) if there are errors, by paths without the step's own. found: those that the step found."""
    said = {error.path for error in found}
    own = (FieldError(error.path.removeprefix(f"{edit.path}."), error.message) for error in errors)
    if every := [*found, *(error for error in own if error.path not in said)]:
        raise Refusal(RefusalKind.INPUT, f"{quantity(len(every), 'error')}; {NOTHING}", every)


def _check_files(gateway: Gateway, prepared: _PreparedChange) -> None:
    """Refuse files and labels that cannot be used, if it is this change that needs them.

    Whether its author may name them was asked before, lest a tenant learns which files there are.
    """
    from gatepost.analysis.checks.named_files import named_files, unusable  # noqa: PLC0415 - as `_radius`

    known = {named_file.need for named_file in named_files(prepared.stored.resources.organizations)}
    identity, now = partial(_client_identity, gateway.settings), time.time()
    changed = filter(None, map(prepared.after.organization, prepared.edit.organizations))
    needed = (named_file for named_file in named_files(changed) if named_file.need not in known)
    _refuse(
        prepared.edit,
        [FieldError(named_file.path, why) for named_file in needed if (why := unusable(named_file, identity, now))],
    )


def _client_identity(settings: Settings, organization: str, label: str, now: float) -> ServerIdentity:
    from gatepost.pki.certificates.clients import stored_client_identities  # noqa: PLC0415 - as `_radius`

    return stored_client_identities(settings, organization, label, now)


def _check_mailboxes(gateway: Gateway, prepared: _PreparedChange) -> None:
    """Refuse mailboxes of one node where several nodes deliver."""
    settings = gateway.settings
    if Storage.of(settings).is_shared and not settings.store.shared_mailboxes:
        changed = filter(None, map(prepared.after.organization, prepared.edit.organizations))
        _refuse(prepared.edit, maildir_errors(changed))


def _check_names(store: ConfigStore, prepared: _PreparedChange) -> None:
    """Refuse the name of an organization that was removed: all that is kept of that one would be shown to this one."""
    known = prepared.stored.document.get("organization", {})
    new = [name for name, table in prepared.wanted["organization"].items() if table is not None and name not in known]
    if prepared.edit.restores:
        return
    removed = [change for name in new for change in store.history("organization", name, limit=1)]
    _refuse(prepared.edit, [FieldError(f"organization.{change.name}.name", _taken(change)) for change in removed])


def _taken(removal: Change) -> str:
    return (
        f"was the name of an organization that was removed on {day_text(removal.at)}. Its trace, queue, evidence and "
        "history are kept under that name, and another one would see them; choose another name. To bring it back, "
        f"revert this organization to version {removal.version - 1} (`gatepost history revert`)"
    )


def _lacking(gateway: Gateway, store: ConfigStore, prepared: _PreparedChange) -> list[str]:
    """What the changed organizations name that is not in the store, a sentence each."""
    changed = list(filter(None, map(prepared.after.organization, prepared.edit.organizations)))
    return [
        *keys_lacking(store, changed, prepared.edit.content),
        *secrets_lacking(store, changed),
        *passwords_lacking(store, changed),
        *unknown_homes(store, gateway.settings.server, changed),
    ]


def _pending(store: ConfigStore, principal: Principal, prepared: _PreparedChange) -> Iterator[str]:
    return pending_notes(
        store, visible(prepared.stored.resources, principal).organizations, prepared.after.organizations
    )


def _overtaken(version: int, expected: int) -> Refusal:
    text = f"the configuration is at version {version}, not {expected}: look again, then change it"
    return VersionConflict(text)


# ------------------------------------------------------------------------------------------------ what is said of it


def _result(
    gateway: Gateway,
    principal: Principal,
    options: ChangeOptions,
    prepared: _PreparedChange,
    done: tuple[int, list[FieldChange], list[str]],
) -> ChangeResult:
    version, changes, lacking = done
    hostname = gateway.settings.server.hostname
    before = visible(prepared.stored.resources, principal)
    known, current = set(_warnings(gateway, principal, before)), _warnings(gateway, principal, prepared.after)
    concerns = _concerning(prepared.edit)
    ours = [text for text in current if text not in known or concerns(text)]
    reported = set(ours)
    after = Resources((*prepared.after.organizations, *prepared.others))
    return ChangeResult(
        version=version,
        dry_run=options.dry_run,
        changes=changes,
        warnings=[*ours, *lacking],
        standing=[text for text in current if text not in reported],
        notes=list(to_do(before.organizations, prepared.after.organizations, hostname)),
        after=after,
        radius=_radius(gateway, principal, prepared.stored, after, options.since)
        if options.dry_run and changes
        else None,
    )


def _warnings(gateway: Gateway, principal: Principal, resources: Resources) -> list[str]:
    """Warnings about the resources. The gateway's listeners are mentioned to its owner alone."""
    settings = gateway.settings
    listeners = Listeners(())
    if principal.is_of_gateway:
        addresses, interfaces = [listener.address for listener in settings.listeners], frozenset[str]()
        with contextlib.suppress(OSError):  # a sandbox may forbid to list them
            interfaces = interface_addresses()
        listeners = Listeners(addresses, settings.server.hostname, settings.server.own_addresses, interfaces)
    return [
        *warnings(resources, settings.server.hostname),
        *unreachable(resources, reach_of_tenants(settings)),
        *own_smart_hosts(resources, listeners),
    ]


def _radius(
    gateway: Gateway, principal: Principal, stored: _Stored, after: Resources, since: float | None
) -> Radius | None:
    if since is None:
        return None
    if stored.unusable:
        text = f"this gatepost version cannot use the stored resources, so it cannot compare them: {stored.unusable}"
        raise Refusal(RefusalKind.UNREADABLE, text)
    from gatepost.manage.use_cases.blast_radius import find_radius  # noqa: PLC0415 - who only lists needs none

    return find_radius(gateway, principal, stored.resources, after, since)


def _concerning(edit: Edit) -> Callable[[str], bool]:
    """Whether a warning names the changed resource; another organization may have one of that name."""
    owners = [re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])") for name in edit.organizations if edit.names]
    return lambda text: any(name in text for name in edit.names) and any(owner.search(text) for owner in owners)
