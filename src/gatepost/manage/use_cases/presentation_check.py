"""Check which certificates this node's listeners present now, by handshakes as a partner would make them.

Several handshakes for each listener, since the kernel deals connections out to the workers. Ends within some seconds.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.analysis.checks.presentation import HandshakeFailed, presented_leaf, server_name
from gatepost.settings.roles import ListenerRole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.certificates.entry import Entry
    from gatepost.store.nodes import Node


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
