"""Expand a recipient to its targets: a mailbox, a forwarding address, or the sender of a returned message.

Called by `mail.inbound.session` for each recipient, by `policy.decisions.inbound` and `policy.decisions.explain` for
what is told of it. Pure: a directory, keys and the time are parameters. Mail of others that a mailbox, or an
organization's own server, sends on goes out with a reverse-path of ours (`protocols.message.srs`). What comes back to
that is a notice for the original sender, and only that is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.values import ConnectorType
from gatepost.policy.decisions.home import ALONE, Nodes
from gatepost.policy.decisions.parties import parties
from gatepost.policy.decisions.routes import InternalRoute, MxRoute, Route, SmartHosts
from gatepost.protocols.message.srs import SrsKeys, SrsRefused, is_srs
from gatepost.protocols.smtp.grammar import Path, parse_address
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.match import Attribution
    from gatepost.policy.connectors.records import Organization


_STEPS = 10  # from mailbox to mailbox; more is nobody's wish
_DAY = 86400

_NOT_OURS = Reply(550, "5.1.1", ("Recipient address rejected: this rewritten address is not ours, or has expired",))
_NO_NOTICE = Reply(550, "5.7.1", ("Recipient address rejected: a rewritten address accepts only notices",))


class Target(msgspec.Struct, frozen=True):
    """One forward-path that mail for a recipient goes to.

    forwarded_by: the address of the mailbox that sends it on, "" if none. return_path: the reverse-path it goes with,
    "" for the message's own.
    """

    path: Path
    forwarded_by: str = ""
    return_path: str = ""


class Expansion(msgspec.Struct, frozen=True):
    """The targets of a recipient. targets: at least one. steps: the mailboxes on the way, each with a sentence."""

    targets: tuple[Target, ...]
    steps: tuple[tuple[str, str], ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """The sentences, for the trace and `explain`."""
        return tuple(sentence for _, sentence in self.steps)


class Returned(msgspec.Struct, frozen=True):
    """An address that we, or somebody else, have rewritten.

    recipient: as it came. original: who it stands for, None if it is not to be taken; reply: what its sender is told
    then. reason: for us.
    """

    recipient: Path
    original: Path | None
    reply: Reply
    reason: str


def expand(directory: Directory, recipient: Path) -> Expansion:
    """Expand a recipient by the mailboxes of the installation."""
    targets: list[Target] = []
    steps: list[tuple[str, str]] = []
    passed: list[str] = []
    at, by = recipient, ""
    while (match := directory.recipient(at.text)) is not None:
        box = match.mailbox
        if match.forward_path.lower() != box.address.lower() or match.is_alias:
            steps.append((box.address, f"{at.text} is for the mailbox {box.address}"))
        if not box.forwarding_smtp_address:
            break
        if box.address in passed or len(passed) == _STEPS:
            through = ", ".join(passed)
            steps.append((box.address, f"{box.address} forwards no further: the message came through {through}"))
            break
        if box.deliver_to_mailbox_and_forward:
            targets.append(Target(at, by))
        kept = ", and keeps it" if box.deliver_to_mailbox_and_forward else ""
        steps.append((box.address, f"the mailbox {box.address} forwards to {box.forwarding_smtp_address}{kept}"))
        passed.append(box.address)
        at, by = parse_address(box.forwarding_smtp_address), box.address
    return Expansion((*targets, Target(at, by)), tuple(steps))


def organizations_reached(directory: Directory, targets: Iterable[Target]) -> list[str]:
    """The organizations here whose domains the targets are in: mailboxes of others may forward to them."""
    owners = (directory.organization_of(target.path.domain) for target in targets)
    return [owner.name for owner in owners if owner is not None]


class MailOrigin(msgspec.Struct, frozen=True):
    """brought_by: whose server brought the mail, None if that makes no difference. nodes: of the site."""

    brought_by: Attribution | None = None
    nodes: Nodes = ALONE


HERE = MailOrigin()
"""From anybody, on a node that is alone."""


def targets_of(
    directory: Directory,
    keys: SrsKeys,
    reverse_path: Path,
    recipient: Path | Returned,
    now: float,
    origin: MailOrigin = HERE,
) -> tuple[Target, ...]:
    """The targets of mail for an accepted recipient, each with its reverse-path.

    now: seconds since 1970. For a mailbox on another node, that node rewrites the reverse-path, with its own key.
    """
    if isinstance(recipient, Returned):
        return (Target(recipient.original or recipient.recipient),)
    relayed_by = ""
    if origin.brought_by is not None and origin.brought_by.organization is not None:
        relayed_by = relay_domain(directory, origin.brought_by.organization, origin.brought_by.basis)
    return tuple(
        [
            rewritten(directory, keys, reverse_path, target, now, relayed_by, origin.nodes)
            for target in expand(directory, recipient).targets
        ]
    )


def relay_domain(directory: Directory, organization: str, basis: str) -> str:
    """The domain in whose name an organization's own server relays mail of others, "" if it is none (exchange.md 5.3).

    basis: what identified the server. By certificate or address alone: any other sends as its organization. It is the
    first accepted domain, whose MX should lead here, as notices come back by it.
    """
    owner = directory.organization(organization) if basis in {"certificate", "address-alone"} else None
    domains = owner.accepted_domains if owner is not None else ()
    return next((domain.name for domain in domains if not domain.name.startswith("*.")), "")


def rewritten(  # noqa: PLR0913, PLR0917 - all that a reverse-path depends on
    directory: Directory,
    keys: SrsKeys,
    reverse_path: Path,
    target: Target,
    now: float,
    relayed_by: str = "",
    nodes: Nodes = ALONE,
) -> Target:
    """The target with the reverse-path that it needs. relayed_by: see `relay_domain`. nodes: as in `targets_of`.

    A new one is only made where the message leaves and its sender is somebody else's: the next server would ask the
    sender's domain about us (RFC 7208), and hear that we have no business with it. Whose the sender is, is asked of the
    organization that sends the mail on: what another one accepts changes nothing.
    """
    ours = parse_address(target.forwarded_by).domain if target.forwarded_by else relayed_by
    owner = directory.organization_of(ours) if ours else None
    if owner is None or _is_of(directory, owner, reverse_path.domain) or nodes.elsewhere(owner):
        return target
    if directory.organization_of(target.path.domain) is not None and not _leaves(directory, owner, target.path.domain):
        return target
    return replace(target, return_path=keys.rewritten(reverse_path, ours, int(now // _DAY)) or "")


def _is_of(directory: Directory, organization: Organization, domain: str) -> bool:
    owner = directory.organization_of(domain)
    return owner is not None and owner.name == organization.name


def _leaves(directory: Directory, organization: Organization, domain: str) -> bool:
    """Whether an organization's mail for a domain that is accepted here leaves by its own connector all the same."""
    concerned = parties(directory, organization.name, domain)
    return concerned.router == organization.name != concerned.owner


def keeps_sender(route: Route) -> bool:
    """Whether a message goes with its own reverse-path where another was made for strangers.

    The organization's own servers are none, unless the connector to them says so (exchange.md section 3); nor is
    another node of the site, where it is made once the message leaves.
    """
    if isinstance(route, InternalRoute):
        return True
    connector = route.connector if isinstance(route, SmartHosts | MxRoute) else None
    if connector is None or connector.connector_type is not ConnectorType.ON_PREMISES:
        return False
    return not connector.sender_rewriting_enabled


def returned(
    directory: Directory, keys: SrsKeys, reverse_path: Path, recipient: Path, now: float, nodes: Nodes = ALONE
) -> Returned | None:
    """The original address behind a rewritten one; None if the recipient is not rewritten, or has a mailbox.

    nodes: of the site. The node of an organization alone can reverse addresses that it rewrote.
    """
    owner = directory.organization_of(recipient.domain) if is_srs(recipient.local_part) else None
    if owner is None or directory.recipient(recipient.text) is not None:
        return None
    if not reverse_path.domain and (home := nodes.elsewhere(owner)):
        return Returned(recipient, recipient, _NOT_OURS, f"only the node {home} can reverse {recipient.text}")
    try:
        original = keys.original(recipient.local_part, int(now // _DAY))
    except SrsRefused as refused:
        return Returned(
            recipient, None, _NOT_OURS, f"{recipient.text} is a rewritten address that cannot be reversed: {refused}"
        )
    if reverse_path.domain:
        reason = f"{recipient.text} stands for {original.text}, and only a null reverse-path may write to it"
        return Returned(recipient, None, _NO_NOTICE, reason)
    return Returned(
        recipient, original, _NOT_OURS, f"{recipient.text} is ours and stands for {original.text}, who gets the notice"
    )
