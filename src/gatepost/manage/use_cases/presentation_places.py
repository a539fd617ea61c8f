"""Find where a certificate is presented, as the nodes of the site saw it by handshakes, and what their workers hold.

Used by `manage.use_cases.nodes` and by all that shows certificates. What no node looked at yet is taken from the
settings. See `analysis.checks.presentation` for what counts as wrong.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gatepost.analysis.checks.presentation import presentation_problems
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.settings.roles import ListenerRole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.certificates.entry import Entry
    from gatepost.store.nodes import Node


class PresentationPlaces(NamedTuple):
    """where: listeners, with their node if there are several, or connectors. problems: what is wrong, a text each.

    checked: when the listeners were looked at, seconds since 1970; the earliest of the nodes, None if none looked yet.
    """

    where: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    checked: float | None = None


def presentation_places(gateway: Gateway, entry: Entry, nodes: Sequence[Node]) -> PresentationPlaces:
    """Of one certificate; nothing for one that is not current. nodes: of the site. Raises Refusal (UNREADABLE)."""
    if entry.purpose is Purpose.CLIENT:
        return PresentationPlaces(_connectors(gateway, entry) if entry.state is State.CURRENT else ())
    running = [node for node in nodes if node.state.is_alive and node.workers]
    at_nodes = presentation_problems({entry.id: entry}, running, now=time.time())
    problems = tuple(f"node {problem.node}: {problem.text}" for problem in at_nodes if problem.certificate == entry.id)
    if entry.state is not State.CURRENT:
        return PresentationPlaces(problems=problems)
    if not problems and (gone := missing_file(entry)):
        problems = (f"{gone} is missing",)
    looks = [(node.name, node.observed) for node in running if node.observed is not None]
    if not looks:
        return PresentationPlaces(() if problems else _of_settings(gateway), problems)
    where = tuple(
        f"{name}: {listener.listener}" if len(running) > 1 else listener.listener
        for name, look in looks
        for listener in look.listeners
        if entry.leaf.sha256 in listener.certificates
    )
    return PresentationPlaces(where, problems, min(look.at for _, look in looks))


def _connectors(gateway: Gateway, entry: Entry) -> tuple[str, ...]:
    owner = gateway.directory().resources.organization(entry.organization)
    return tuple(
        f"connector {connector.name}"
        for connector in (owner.outbound_connectors if owner else ())
        if connector.client_certificate is not None and connector.client_certificate.label == entry.label
    )


def _of_settings(gateway: Gateway) -> tuple[str, ...]:
    own = (listener for listener in gateway.settings.listeners if listener.role is not ListenerRole.INTERNAL)
    return tuple(f"{listener.role} {listener.address}" for listener in own)


def missing_file(entry: Entry) -> str:
    """The file of an entry that is not there, the key before the chain; "" if both are, or nobody here can tell."""
    key_file = "" if entry.in_token else entry.key_file
    for file in filter(None, (key_file, entry.chain_file if entry.key_file else "")):
        with suppress(PermissionError):
            if not Path(file).exists():
                return file
    return ""
