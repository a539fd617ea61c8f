"""Alarms for resource values in force without a grant of the gateway's owner. Pure.

Called by `node.alarms` and `manage.use_cases.alarms`. What a grant is, `policy.connectors.grants` says. No page, call
or command stores such a value: whoever wrote it came by another way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity
from gatepost.policy.connectors.grants import ungranted_paths
from gatepost.protocols.message.header_text import shown_text
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from gatepost.policy.connectors.resources import Resources


_LONG: Final = 900


def judge_grants(resources: Resources) -> tuple[Alarm, ...]:
    """One for all of them, which the gateway's owner must see to; none if there is none."""
    paths = list(ungranted_paths(resources))
    if not paths:
        return ()
    more = f" And {len(paths) - 1} more." if len(paths) > 1 else ""
    return (
        Alarm(
            Kind.NOT_GRANTED,
            Severity.ERROR,
            "",
            f"{quantity(len(paths), 'resource uses', 'resources use')} local files or sockets without a grant",
            shown_text(f"{paths[0][:1].upper()}{paths[0][1:]}.{more}", _LONG),
            "Find out who wrote them, then grant them one by one (gatepost grant add), or remove them:",
            "resources",
            ("gatepost history", "gatepost grant list"),
        ),
    )
