"""The nodes of a site, as administrators see them, have them drained and forget them.

On a running gateway as on a stopped one. A gateway with SQLite is one node.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from gatepost.analysis.checks.presentation import presentation_alarms, presentation_problems
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Cli, Items, Visibility, use_cases
from gatepost.manage.use_cases.paging import Paging, page_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing
from gatepost.pki.certificates.inventory import Inventory
from gatepost.quantity import quantity
from gatepost.settings.comparison import is_compared
from gatepost.store.interface import StoreFailure
from gatepost.store.leases import duty_label
from gatepost.store.nodes import EXPIRY_SECONDS, Node, NodeState
from gatepost.store.storage import Storage
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.settings.model import Settings


use_case = use_cases(visibility=Visibility.GATEWAY, tag="status")

_PATIENCE: Final = 2.0  # seconds in which a change comes into force everywhere, unless a node is in trouble
_AGAIN: Final = 0.2

type _Name = Annotated[str, Meta(min_length=1, max_length=253, description="Name of the node."), Cli(argument=True)]


class ListNodes(Paging, kw_only=True):
    """Of the nodes."""


class DrainNode(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A node, by its name. undo: let it take mail again."""

    name: _Name
    undo: Annotated[bool, Meta(description="Let the node take mail again.")] = False


class ForgetNode(msgspec.Struct, kw_only=True):
    """A node, by its name."""

    name: _Name


class NodeQueue(msgspec.Struct, frozen=True):
    """Deliveries in the part of the queue that a node has, by state."""

    active: int
    deferred: int
    held: int


class PresentedCertificates(msgspec.Struct, frozen=True):
    """Certificates that handshakes with one listener showed, as SHA-256 in hexadecimal.

    trouble: why one could not be seen, "" if all could.
    """

    listener: str
    certificates: list[str]
    trouble: str


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One node.

    host: name of its machine. software: version of gatepost. configuration: the version in force in all its workers.
    started: seconds since 1970. heartbeat: seconds since the last one. certificate: SHA-256 of the one that its workers
    hold first, in hexadecimal, "" if there is none. presented: what its listeners presented when it looked at them last
    by TLS handshakes; checked: when, seconds since 1970, null before the first look. problems: what is wrong with that,
    a sentence each. queue: null while it is not known. clock_offset:
    seconds by which its clock is ahead of the database's. leases: what it does for the whole site, as codes: acme,
    alarms, changeover, evidence, report-import, report-sending, retention. other_settings: keys of its settings that
    most running nodes have otherwise; where there are as many of either kind, all of them have it here.
    """

    name: str
    state: NodeState
    host: str
    software: str
    configuration: int
    listeners: list[str]
    started: float
    heartbeat: float
    certificate: str
    presented: list[PresentedCertificates]
    checked: float | None
    problems: list[str]
    queue: NodeQueue | None
    clock_offset: float
    leases: list[str]
    workers: int
    other_settings: list[str]

    @property
    def shown(self) -> list[str]:
        """SHA-256 of all certificates that its listeners presented."""
        return list(dict.fromkeys(sha256 for listener in self.presented for sha256 in listener.certificates))

    @property
    def duties(self) -> list[str]:
        """Its work for the whole site, in words."""
        return [label for lease in self.leases if (label := duty_label(lease))]


class Nodes:
    """The list of nodes, opened once in a process."""

    def __init__(self, settings: Settings) -> None:
        self.registry = Storage.of(settings).nodes()
        self._turn = threading.Lock()

    def all(self) -> list[Node]:
        """All of them by name. Raises Refusal (UNREADABLE)."""
        with refusing(RefusalKind.UNREADABLE, StoreFailure, text="the nodes cannot be read: {error}"), self._turn:
            return self.registry.nodes()

    def named(self, name: str) -> Node:
        """The one of a name. Raises Refusal (MISSING, UNREADABLE)."""
        for node in self.all():
            if node.name == name:
                return node
        raise Refusal(RefusalKind.MISSING, f"there is no node {name!r}; `gatepost node list` lists the nodes")


@use_case("GET /nodes", scope=Scope.READ)
def list_nodes(context: Context, request: ListNodes) -> Items[NodeStatus]:
    """List the nodes of the site with their versions, heartbeat, queue and state.

    A node without a heartbeat for 15 seconds is dead; other nodes take over its mail.
    """
    nodes = context.kept(Nodes).all()
    show = shown_nodes(context.gateway, nodes)
    return page_of(nodes, lambda node: node.name, request, show)


@use_case("POST /nodes/{name}/drain", scope=Scope.OWNER, requires_reauth=True, action="node-drain")
def drain_node(context: Context, request: DrainNode) -> NodeStatus:
    """Stop a node from taking mail, and have its queue delivered or handed over.

    New connections are refused with 421. The node does nothing for the whole site meanwhile. Its state is `drained`
    when its part of the queue is empty, and `active` again after its next start.
    """
    context.audit.describe(undo=request.undo)
    nodes = context.kept(Nodes)
    node = nodes.named(request.name)
    with refusing(RefusalKind.UNREADABLE, StoreFailure, text="the node's state cannot be written: {error}"):
        done = nodes.registry.drain(request.name, undo=request.undo)
    if not done:
        raise Refusal(RefusalKind.CONFLICT, f"The node {node.name} does not run ({node.state}).")
    return shown_nodes(context.gateway, nodes.all())(nodes.named(request.name))


@use_case("DELETE /nodes/{name}", scope=Scope.OWNER, status=204, requires_reauth=True, action="node-remove")
def forget_node(context: Context, request: ForgetNode) -> None:
    """Forget a node that is dead or was stopped.

    Its mail was taken over already, and its certificate for other nodes of the site is not renewed. A node that comes
    back is listed again.
    """
    nodes = context.kept(Nodes)
    node = nodes.named(request.name)
    with refusing(RefusalKind.UNREADABLE, StoreFailure, text="the node cannot be removed: {error}"):
        done = nodes.registry.remove(request.name)
    if not done:
        last = quantity(round(node.age), "second")
        text = f"The node {node.name} runs: its last heartbeat was {last} ago."
        raise Refusal(RefusalKind.CONFLICT, f"{text} Stop it first, or wait {EXPIRY_SECONDS:.0f} s after its death.")
    _leave_site(context, request.name)


def _leave_site(context: Context, name: str) -> None:
    """Forget the certificate of a node that is forgotten, with its key."""
    from gatepost.pki.site.membership import Member  # noqa: PLC0415 - only this one needs what they import
    from gatepost.pki.site.records import SiteError  # noqa: PLC0415 - as above
    from gatepost.pki.site.store import SiteStore  # noqa: PLC0415 - as above

    with (
        refusing(
            RefusalKind.UNREADABLE,
            SiteError,
            StoreFailure,
            text="the node was removed, but its certificate for the site was not: {error}",
        ),
        context.config() as store,
    ):
        Member(SiteStore(store, None)).forget(name, author=context.principal.name)


def known_nodes(gateway: Gateway) -> list[Node]:
    """All nodes; none where the list cannot be read, as the rest can be told all the same."""
    try:
        return gateway.kept(Nodes).all()
    except Refusal:
        return []


def node_problems(gateway: Gateway, nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Faults of what nodes present, by their names; nothing where certificates cannot be read."""
    try:
        with gateway.config() as store:
            _, entries = Inventory(store, None).entries()
    except (Refusal, StoreFailure, ValueError):
        return {}
    problems: dict[str, list[str]] = {}
    for alarm in presentation_alarms(presentation_problems(entries, nodes, now=time.time()), entries):
        problems.setdefault(alarm.about, []).append(f"{alarm.title}: {alarm.detail}")
    return problems


def other_settings(nodes: Iterable[Node]) -> dict[str, list[str]]:
    """By the names of running nodes the keys of settings that most of the others have otherwise.

    Where no value is that of most nodes, all have the key here.
    """
    by_node = {node.name: node.settings for node in nodes if node.state.is_alive and node.settings is not None}
    others: dict[str, list[str]] = {name: [] for name in by_node}
    for key in sorted({key for digests in by_node.values() for key in digests if is_compared(key)}):
        values = Counter(digests.get(key) for digests in by_node.values())
        (most, count), *_ = values.most_common()
        for name, digests in by_node.items():
            if digests.get(key) != most or (count * 2 <= len(by_node) and len(values) > 1):
                others[name].append(key)
    return others


def shown_nodes(gateway: Gateway, nodes: Sequence[Node]) -> Callable[[Node], NodeStatus]:
    """Return the function that makes the status of each node of a site. nodes: all of them."""
    problems, others = node_problems(gateway, nodes), other_settings(nodes)
    return lambda node: node_status(node, problems.get(node.name, ()), others.get(node.name, ()))


def node_status(node: Node, problems: Sequence[str] = (), others: Sequence[str] = ()) -> NodeStatus:
    """A node as interfaces show it. problems: as in `node_problems`. others: as in `other_settings`."""
    observed = node.observed
    figures = [worker.figures for worker in node.workers]
    certificates = [worker.certificates for worker in figures if worker.certificates]
    return copy_fields(
        NodeStatus,
        node,
        heartbeat=round(node.age, 1),
        certificate=certificates[0][0] if certificates else "",
        presented=[
            PresentedCertificates(listener.listener, list(listener.certificates), listener.trouble)
            for listener in (observed.listeners if observed is not None else ())
        ],
        checked=observed.at if observed is not None else None,
        problems=list(problems),
        queue=_queue(node),
        clock_offset=max((worker.offset for worker in figures), key=abs, default=0.0),
        workers=len(node.workers),
        other_settings=list(others),
    )


def _queue(node: Node) -> NodeQueue | None:
    counted = [worker.figures for worker in node.workers if worker.figures.active is not None]
    if not counted or len(counted) < len(node.workers):
        return None
    return NodeQueue(
        sum(worker.active or 0 for worker in counted),
        sum(worker.deferred or 0 for worker in counted),
        sum(worker.held or 0 for worker in counted),
    )


class NodesInForce(msgspec.Struct, frozen=True):
    """The nodes on which a version of the configuration is in force, and those that run and work by an older one."""

    in_force: list[str]
    not_yet: list[str]

    @property
    def text(self) -> str:
        """In words: "in force on a, b; not yet on c"."""
        later = f"; not yet on {', '.join(self.not_yet)}" if self.not_yet else ""
        return f"in force on {', '.join(self.in_force) or 'no node'}{later}"


def await_in_force(context: Context, version: int) -> NodesInForce | None:
    """Where a version that was just made is in force, after at most two seconds; None where one node runs, or none.

    None too for who does not see the gateway's nodes, and where they cannot be read.
    """
    if not context.principal.is_of_gateway:
        return None
    deadline = time.monotonic() + _PATIENCE
    while True:
        done, open_ = in_force([node_status(node) for node in known_nodes(context.gateway)], version)
        if len(done) + len(open_) < 2:
            return None
        if not open_ or time.monotonic() > deadline:
            return NodesInForce(done, open_)
        time.sleep(_AGAIN)


def in_force(nodes: Sequence[NodeStatus], version: int) -> tuple[list[str], list[str]]:
    """The names of the nodes that run by a version, or a newer one, and of those that run and do not yet."""
    running = [node for node in nodes if node.state.is_alive]
    return (
        [node.name for node in running if node.configuration >= version],
        [node.name for node in running if node.configuration < version],
    )
