"""The services that deliveries call: store, routes, TLS contexts, connections, look-ups and limits of a process.

Made by `node.assembly`; taken by `mail.outbound.deliverer` and by what it consists of.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.outbound.content import NO_STEPS, ContentSteps
from gatepost.policy.decisions.home import ALONE, Nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.model.message import Delivery
    from gatepost.mail.outbound.contexts import ClientContexts
    from gatepost.mail.outbound.destination_history import DestinationMemory
    from gatepost.mail.outbound.hop import HopOpener
    from gatepost.mail.outbound.mailbox import Maildirs
    from gatepost.mail.outbound.pool import ConnectionPool
    from gatepost.mail.outbound.published import Lookups
    from gatepost.mail.outbound.sessions import SessionLog
    from gatepost.mail.queue.lane_budget import LaneBudget
    from gatepost.net.lookups.mx import MailRouter
    from gatepost.store.interface import Store


MX_PORT = 25
"""The port on which MX hosts listen."""


class DeliveryServices(msgspec.Struct, frozen=True):
    """Services of a worker that the deliverer calls.

    mx_port: where MX hosts listen; 25 but in tests. profile: the server's own TLS profile. tries: addresses tried in
    one attempt. patience: seconds after which an attempt begins with no further address. clock: seconds, monotonic.
    lookups: for DANE and MTA-STS; without them neither is looked up, and a connector that requires DANE sends nothing.
    sessions: counts for TLS reports, None for none. memory: history of destinations, None for none. content: steps that
    change messages before they leave. nodes: of the site, as they are now. budget: of the lanes by which attempts are
    made; idle connections to a next hop have to fit in beside those in use. is_ours: whether a connection to an IP
    address and a port would come back to this gateway. owns: as `Store.owns`.
    """

    store: Store
    router: MailRouter
    maildirs: Maildirs
    contexts: ClientContexts
    opener: HopOpener
    pool: ConnectionPool
    mx_port: int = MX_PORT
    profile: str = "default"
    tries: int = 10
    patience: float = 900.0
    clock: Callable[[], float] = time.monotonic
    lookups: Lookups | None = None
    sessions: SessionLog | None = None
    memory: DestinationMemory | None = None
    content: ContentSteps = NO_STEPS
    nodes: Callable[[], Nodes] = lambda: ALONE
    budget: LaneBudget | None = None
    is_ours: Callable[[str, int], bool] = lambda _address, _port: False
    owns: Callable[[Delivery], bool] = lambda _: True
