"""Decide about mail that another node of the site hands over, and read what that node says of it.

`mail.outbound.record` writes an `Origin`, the parameter XGATEPOST of MAIL carries it, `mail.inbound.decisions` reads
it. Whose mail it is, which connector applied and which way it came was decided where it came in: nothing of that is
decided again, and no connector is held against the other node. Only what the home alone knows is: that the organization
lives here, and that the mailbox exists.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.decoding import from_json
from gatepost.policy.connectors.match import Attribution
from gatepost.policy.decisions.decision import InboundVerdict
from gatepost.policy.decisions.parties import deciding, parties
from gatepost.policy.decisions.recipient_validation import no_such_mailbox
from gatepost.policy.decisions.refusals import NO_MAILBOX
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.protocols.smtp.replies import RECIPIENT_OK, SENDER_OK, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.decisions.forwarding import Returned
    from gatepost.policy.decisions.home import Nodes
    from gatepost.protocols.smtp.grammar import Path


CONNECTOR: Final = "internal"
"""The text in place of a connector's name in the trace."""
NODE: Final = "node"
"""The basis of identification, as in `Attribution.basis`."""
ORIGIN_OCTETS: Final = 12_000
"""The longest XGATEPOST value, in octets."""

_DIRECTIONS: Final = frozenset({"incoming", "originating"})
_FACTS: Final = 20
_LONGEST: Final = 400  # characters of a fact: an address has 320 at most

_STRANGER = Reply(554, "5.7.1", ("This port is for nodes of one site: your certificate is not one of theirs",))
_REMOVED = Reply(421, "4.7.1", ("Your certificate is not that of a node of this site any more",))
_NO_ORIGIN = Reply(550, "5.7.1", ("Mail is accepted here only with XGATEPOST, which names its organization",))
_UNREADABLE = Reply(501, "5.5.4", ("XGATEPOST cannot be read",))
_UNKNOWN_ORGANIZATION = Reply(451, "4.3.5", ("The organization of this mail is not configured on this node",))
_NOT_HERE = Reply(
    451, "4.4.6", ("Mail loop between nodes: by the configuration here this mail belongs to another node",)
)


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """The facts about a message where the site accepted it.

    organization: the one whose connectors and rules apply. direction: "incoming" or "originating". session: the id of
    the session that brought it. message: its queue id there. forwarded_by, return_path: as in
    `mail.model.message.Recipient`; the second is left to the home, if it can be. facts: of that session, for the trace:
    peer, hello, connector, requirement, tls, and the user who logged in.
    """

    organization: str
    direction: str
    session: str = ""
    message: str = ""
    forwarded_by: str = ""
    return_path: str = ""
    facts: dict[str, str] = {}


def write_origin(origin: Origin) -> str:
    """As XGATEPOST has it: base64url of JSON, at most `ORIGIN_OCTETS` long. Facts that do not fit are left out."""
    facts = {name: value[:_LONGEST] for name, value in list(origin.facts.items())[:_FACTS] if value}
    text = _encoded(origin, facts)
    while len(text) > ORIGIN_OCTETS and facts:
        facts.popitem()
        text = _encoded(origin, facts)
    return text


def _encoded(origin: Origin, facts: dict[str, str]) -> str:
    document = msgspec.json.encode(msgspec.structs.replace(origin, facts=facts))
    return base64.urlsafe_b64encode(document).rstrip(b"=").decode("ascii")


def read_origin(text: str) -> Origin:
    """Parse the origin that another node sends. Unknown keys of a later version are ignored. Raises ValueError."""
    if len(text) > ORIGIN_OCTETS:
        raise ValueError(f"XGATEPOST of {len(text)} octets")
    try:
        content = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
        origin = from_json(content, Origin)
    except msgspec.MsgspecError as error:
        raise ValueError(f"XGATEPOST: {error}") from error
    texts = (
        origin.session,
        origin.message,
        origin.forwarded_by,
        origin.return_path,
        *origin.facts,
        *origin.facts.values(),
    )
    if origin.direction not in _DIRECTIONS or len(origin.facts) > _FACTS:
        raise ValueError("XGATEPOST: a direction, or facts, that no node writes")
    if any(len(character) > _LONGEST or not character.isprintable() for character in texts):
        raise ValueError("XGATEPOST: a value that is too long or cannot be shown")
    for address in filter(None, (origin.forwarded_by, origin.return_path)):
        parse_address(address)  # where the message leaves, both are written into commands
    return origin


def refused_stranger(directory: Directory, why: str) -> InboundVerdict:
    """A client of an internal listener that does not prove to be a node of the site."""
    return _verdict(directory, _STRANGER, ("", "none"), "", (why,))


def refused_as_removed(directory: Directory, why: str) -> InboundVerdict:
    """A message in the open session of a client that has ceased to be a node of the site. Its mail stays with it."""
    return _verdict(directory, _REMOVED, ("", "none"), "", (why,))


def decide_handed_mail(directory: Directory, session: SessionFacts, text: str) -> InboundVerdict:
    """Whether MAIL FROM of another node is taken. text: XGATEPOST, "" if it was not said."""
    if not text:
        why = f"{session.node} did not send the origin of the message (XGATEPOST): does it run this version?"
        return _verdict(directory, _NO_ORIGIN, ("", "none"), session.node, (why,))
    try:
        origin = read_origin(text)
    except ValueError as error:
        return _verdict(directory, _UNREADABLE, ("", "none"), session.node, (str(error),))
    reply = SENDER_OK if directory.organization(origin.organization) is not None else _UNKNOWN_ORGANIZATION
    reason = _handed(session, origin)
    if not reply.positive:
        reason = (
            f"{reason}, and {origin.organization} is not in the resources of this node: apply the same resources here"
        )
    return _verdict(directory, reply, (origin.organization, origin.direction), session.node, (reason,))


def decide_handed_recipient(
    directory: Directory,
    session: SessionFacts,
    nodes: Nodes,
    origin: Origin,
    recipient: Path,
    returned: Returned | None = None,
) -> InboundVerdict:
    """Whether RCPT TO of another node is taken: by whom mail for the recipient would have to go on, and existence.

    returned: the original behind the recipient, if it is a rewritten address.
    """
    # A notice goes by the owner of the domain alone, other mail by whoever has the say: both are right here.
    names = (
        parties(directory, origin.organization, recipient.domain).owner,
        deciding(directory, origin.organization, recipient.domain, recipient.text),
    )
    owners = [organization for organization in map(directory.organization, names) if organization is not None]
    owner = next(
        (organization for organization in owners if not nodes.elsewhere(organization)), owners[0] if owners else None
    )
    elsewhere = nodes.elsewhere(owner) if owner is not None else ""
    reasons = [_handed(session, origin)]
    reply = RECIPIENT_OK
    if owner is None:
        reply = _UNKNOWN_ORGANIZATION
        reasons.append(f"{origin.organization} is not in the resources of this node: apply the same resources here")
    elif elsewhere:
        reply = _NOT_HERE
        reasons.append(
            f"here {owner.name} lives on {elsewhere}, and {session.node} thinks it lives here: apply the same resources"
            " on both"
        )
    elif returned is not None:
        reply = RECIPIENT_OK if returned.original is not None else returned.reply
        reasons.append(returned.reason)
    elif no_such_mailbox(directory, recipient):
        reply = NO_MAILBOX
        reasons.append(f"{recipient.domain} is authoritative here, and {recipient.text} is not one of its mailboxes")
    return _verdict(directory, reply, (origin.organization, origin.direction), session.node, tuple(reasons))


def _handed(session: SessionFacts, origin: Origin) -> str:
    by = _shown(origin.facts)
    return f"{session.node} accepted it as {origin.direction} mail of {origin.organization}{by} and hands it over"


def _shown(facts: Mapping[str, str]) -> str:
    if user := facts.get("user"):
        return f" from {user}, who logged in,"
    return f" by connector {facts['connector']!r}" if facts.get("connector") else ""


def _verdict(
    directory: Directory, reply: Reply, whose: tuple[str, str], node: str, reasons: tuple[str, ...]
) -> InboundVerdict:
    organization, direction = whose
    return InboundVerdict(
        reply.positive,
        reply,
        organization,
        direction,
        CONNECTOR,
        f"authenticated({node or 'a node of the site'})",
        reasons,
        Attribution(direction, organization or None, None, NODE, reasons),
        basis=NODE,
        configuration=directory.version,
    )
