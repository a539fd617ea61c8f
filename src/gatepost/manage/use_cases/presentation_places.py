"""Find where a certificate is presented, and check it by handshakes.

Nodes of the site look by handshakes, and their workers say what they hold.

Used by `manage.use_cases.nodes` and by all that shows certificates. What no node looked at yet is taken from the
settings. See `analysis.checks.presentation` for what counts as wrong.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.analysis.checks.presentation import HandshakeFailed, presentation_problems, presented_leaf, server_name
from gatepost.pki.certificates.entry import Entry, Purpose, State
from gatepost.settings.roles import ListenerRole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.context import Gateway
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


_TRIES: Final = 4
_LISTENERS: Final = 8


class ListenerPresentation(NamedTuple):
    """One listener. node: its name. seen: handshakes that showed the certificate, of `asked`; others showed another.

    trouble: why nothing was learnt of it, "" if something was. checked: seconds since 1970.
    """

    node: str
    listener: str
    seen: int
    asked: int
    trouble: str = ""
    checked: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every handshake showed it."""
        return bool(self.asked) and self.seen == self.asked


def check_presentation(gateway: Gateway, entry: Entry) -> list[ListenerPresentation]:
    """Ask each listener with TLS for one of its names, with its kind of key alone. Raises nothing for what they answer.

    At most eight listeners are asked.
    """
    own = [listener for listener in gateway.settings.listeners if listener.role is not ListenerRole.INTERNAL][
        :_LISTENERS
    ]
    if not own:
        return []
    with ThreadPoolExecutor(len(own)) as threads:
        return list(
            threads.map(lambda listener: _ask_listener(gateway, listener.role, str(listener.address), entry), own)
        )


def presented_elsewhere(entry: Entry, nodes: Sequence[Node]) -> list[ListenerPresentation]:
    """The listeners of other nodes, as those saw them at their last look."""
    looks = [(node.name, node.observed) for node in nodes if node.observed is not None]
    return [
        ListenerPresentation(
            name,
            listener.listener,
            int(entry.leaf.sha256 in listener.certificates),
            int(bool(listener.certificates)),
            "" if listener.certificates else listener.trouble,
            look.at,
        )
        for name, look in looks
        for listener in look.listeners
    ]


def _ask_listener(gateway: Gateway, role: ListenerRole, address: str, entry: Entry) -> ListenerPresentation:
    server, listener, now = gateway.settings.server, f"{role} {address}", time.time()
    name, profile = server_name(entry.leaf, server.hostname), str(gateway.settings.tls.profile)
    seen = 0
    for _ in range(_TRIES):
        try:
            der = presented_leaf(role, address, name, key_family=entry.key_family, profile=profile)
        except HandshakeFailed as failure:
            return ListenerPresentation(server.node_name, listener, 0, 0, str(failure), now)
        seen += hashlib.sha256(der).hexdigest() == entry.leaf.sha256
    return ListenerPresentation(server.node_name, listener, seen, _TRIES, checked=now)
