"""The blast radius of a change: what it touches, and what it would have done to recent mail.

Used by `change` where nothing is to be changed yet. Reads the trace.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from gatepost.analysis.rehearsal.blast_radius import COLUMNS, BlastRadius, Difference, Kind, Total, blast_radius
from gatepost.analysis.rehearsal.recorded import INBOUND, OUTBOUND
from gatepost.analysis.rehearsal.touched import Touched, touched
from gatepost.policy.connectors.directory import Directory
from gatepost.store.interface import TraceFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.context import Gateway
    from gatepost.policy.connectors.resources import Resources


_PEERS = 20
_ORGANIZATION = COLUMNS.index("organization")


class Radius(NamedTuple):
    """since, until: seconds since 1970. unreadable: files of the trace."""

    since: float
    until: float
    touched: Touched
    found: BlastRadius
    unreadable: list[str]


def find_radius(gateway: Gateway, principal: Principal, before: Resources, after: Resources, since: float) -> Radius:
    """Resources that a change touches, and its effect on mail of the trace, as far as the principal sees them.

    Of another organization's way nothing is named, as in the trace (`policy.decisions.withheld`). since: seconds since
    1970.
    """
    change, until, unreadable = touched(before, after), time.time(), list[str]()
    events = (*(INBOUND if change.inbound else ()), *(OUTBOUND if change.outbound else ()))
    effect = BlastRadius()
    if events:
        wanted = TraceFilter(since=since, until=until)
        rows = gateway.storage.trace().scan(wanted, COLUMNS, events=events, unreadable=unreadable)
        seen = rows if principal.is_of_gateway else (row for row in rows if principal.sees(row[_ORGANIZATION]))
        hidden = {item.name for item in before.organizations if not principal.sees(item.name)}
        effect = blast_radius(seen, Directory(before), Directory(after), gateway.settings.tls.profile, hidden)
    return Radius(since, until, change, effect, unreadable)


def kinds_also(difference: Difference) -> list[tuple[str, int]]:
    """Gravest first."""
    return [(str(kind), difference.also[kind]) for kind in Kind if difference.also[kind] > 0]


def peers_of(difference: Difference) -> list[tuple[str, int]]:
    """Most messages first. Messages that were found to differ more gravely leave their peer behind with none."""
    return [(peer, count) for peer, count in difference.peers.most_common() if count > 0]


def radius_record(radius: Radius) -> dict[str, Any]:
    """For machines."""
    change, effect = radius.touched, radius.found
    return {
        "since": radius.since,
        "until": radius.until,
        "parts": [{"sign": sign, "part": label, "fields": list(fields)} for sign, label, fields in change.parts],
        "senders": sorted(change.senders),
        "recipients": sorted(change.recipients),
        "touches": {"inbound": change.inbound, "outbound": change.outbound, "content": change.content},
        "inbound": {"messages": effect.inbound.messages, "different": effect.inbound.different},
        "outbound": {"messages": effect.outbound.messages, "different": effect.outbound.different},
        "differences": list(_rows(effect.differences())),
        "unreadable": radius.unreadable,
    }


def radius_of(record: Mapping[str, Any]) -> Radius:
    """The inverse of `radius_record`."""
    parts = [(part["sign"], part["part"], tuple(part["fields"])) for part in record["parts"]]
    change = Touched(parts, set(record["senders"]), set(record["recipients"]), **record["touches"])
    effect = BlastRadius(Total(**record["inbound"]), Total(**record["outbound"]))
    for row in record["differences"]:
        difference = _difference(row)
        effect.by_kind[difference.kind, difference.direction] = difference
    return Radius(record["since"], record["until"], change, effect, list(record["unreadable"]))


def _difference(row: Mapping[str, Any]) -> Difference:
    return Difference(
        direction=row["direction"],
        kind=Kind(row["kind"]),
        messages=row["messages"],
        also=Counter({Kind(each["kind"]): each["messages"] for each in row["also"]}),
        peers=Counter({each["peer"]: each["messages"] for each in row["peers"]}),
        unnamed=row["more_peers"],
        sample=row["sample"],
        before=row["before"],
        after=row["after"],
    )


def _rows(differences: Iterable[Difference]) -> Iterable[dict[str, Any]]:
    for difference in differences:
        peers = peers_of(difference)
        yield {
            "direction": difference.direction,
            "kind": str(difference.kind),
            "messages": difference.messages,
            "also": [{"kind": kind, "messages": count} for kind, count in kinds_also(difference)],
            "peers": [{"peer": peer, "messages": count} for peer, count in peers[:_PEERS]],
            "more_peers": max(0, len(peers) - _PEERS) + difference.unnamed,
            "sample": difference.sample,
            "before": difference.before,
            "after": difference.after,
        }
