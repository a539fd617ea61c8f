"""`gatepost node …`: the nodes of a site that share a store. Certificates between nodes are `gatepost site`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from gatepost.manage.cli.options import NO, client, fail, gateway_options
from gatepost.manage.cli.output import _, ours, print_rows, printable, printed_json, queue_states, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases.client import Client, all_items
from gatepost.manage.use_cases.nodes import DrainNode, ForgetNode, ListNodes, drain_node, forget_node, list_nodes
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import stamp
from gatepost.store.nodes import NodeState

if TYPE_CHECKING:
    from gatepost.manage.use_cases.nodes import NodeStatus


_COLUMNS: Final = (
    "name",
    "state",
    "version",
    "configuration",
    "heartbeat",
    "queue",
    "clock",
    "certificate",
    "listeners",
    "does for the site",
    "settings that differ",
)
_WAIT: Final = 15.0  # seconds in which all nodes present a new certificate, and have looked
_AGAIN: Final = 0.3


@click.group()
def node() -> None:
    """Show the nodes of a site, drain one, or forget a dead one."""


@node.command("list")
@gateway_options
def list_() -> None:
    """List the nodes: state, version, configuration in force, heartbeat, queue, clock, certificate, duties, settings.

    The last column has the settings that most of the running nodes have otherwise. Compare what `gatepost settings
    show` prints on each node. Names, paths and addresses are not compared.

    Exit codes: 0 done, 2 invalid settings, 3 the data cannot be read.
    """
    print_rows(_COLUMNS, all_items(client().call, list_nodes, ListNodes()), _row)


@node.command()
@request_options(DrainNode)
@click.option("--wait", is_flag=True, help="Wait until the node is drained.")
@gateway_options
def drain(request: DrainNode, *, wait: bool) -> None:
    """Stop node NAME from taking mail, and have its queue delivered or handed over to other nodes.

    New connections are refused with 421. The node takes mail again with --undo, and after its next start. If no other
    node takes mail, the command says so.

    Exit codes: 0 done, 1 it does not run, or with --wait: it ended or takes mail again before it is drained, 2 usage
    error, or there is no such node, 3 the data cannot be written.
    """
    through = client()
    status = through.call(drain_node, request)
    if not request.undo:
        nodes = all_items(through.call, list_nodes, ListNodes())
        if all(node.state is not NodeState.ACTIVE for node in nodes):
            say("no other node takes mail: senders are told to try again later", err=True)
    if wait and not request.undo:
        status = _drained(through, status)
    if not printed_json(status):
        say("%(name)s: %(state)s, queue: %(status)s", name=status.name, state=status.state, status=_queue(status))


def _drained(through: Client, status: NodeStatus) -> NodeStatus:
    """Wait until a node has no mail left. Ends the command if that will not be."""
    name = status.name
    while status.state == "draining":
        time.sleep(1.0)
        nodes = {node.name: node for node in all_items(through.call, list_nodes, ListNodes())}
        if name not in nodes or not (status := nodes[name]).state.is_alive:
            fail(NO, "%(name)s ended, or was silent for 15 seconds: other nodes take over what it had", name=name)
        if status.state == "active":
            fail(NO, "%(name)s takes mail again: it started anew, or somebody undid this; drain it again", name=name)
    return status


@node.command()
@request_options(ForgetNode)
@gateway_options
def remove(request: ForgetNode) -> None:
    """Forget node NAME, which is dead or was stopped. Other nodes have taken over its mail.

    Exit codes: 0 done, 1 it runs, 2 usage error, or there is no such node, 3 the data cannot be written.
    """
    client().call(forget_node, request)
    if not printed_json({"name": request.name}):
        say("removed: %(name)s", name=request.name)


def say_presented(through: Client, sha256: str) -> None:
    """Say which nodes present a certificate by now, if there are several; waits some seconds for all of them."""
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            nodes = [node for node in all_items(through.call, list_nodes, ListNodes()) if node.state.is_alive]
        except Refusal as refusal:
            if refusal.kind is not RefusalKind.UNREADABLE or time.monotonic() > deadline:
                return  # the gateway's nodes are not this token's, or not known
            time.sleep(_AGAIN)  # the database may be late for once
            continue
        done = [node.name for node in nodes if sha256 in node.shown]
        open_ = [node.name for node in nodes if sha256 not in node.shown]
        if len(nodes) < 2:
            return
        if not open_ or time.monotonic() > deadline:
            break
        time.sleep(_AGAIN)
    later = _("; not seen yet on %(nodes)s", nodes=", ".join(map(printable, open_))) if open_ else ""
    say("presented on %(nodes)s%(later)s", err=True, nodes=", ".join(map(printable, done)) or _("no node"), later=later)


def _row(one: NodeStatus) -> tuple[object, ...]:
    return (
        one.name,
        one.state,
        one.software,
        one.configuration,
        _("%(heartbeat)s s ago", heartbeat=f"{one.heartbeat:.0f}"),
        _queue(one),
        f"{round(one.clock_offset, 1) + 0.0:+.1f} s",
        _certificate(one),
        ", ".join(one.listeners),
        ", ".join(one.duties),
        ", ".join(one.other_settings),
    )


def _certificate(one: NodeStatus) -> str:
    """What its listeners presented, and when; what is wrong with that first."""
    parts = [*one.problems]
    parts += [
        _("%(listener)s not seen: %(trouble)s", listener=listener.listener, trouble=ours(listener.trouble))
        for listener in one.presented
        if listener.trouble
    ]
    if one.checked is None:
        parts += [_("%(certificate)s (not checked yet)", certificate=one.certificate[:16])] * bool(one.certificate)
    elif one.shown:
        parts.append(
            _(
                "%(shown)s (presented %(checked)s)",
                shown=", ".join(sha256[:16] for sha256 in one.shown),
                checked=stamp(one.checked),
            )
        )
    return "; ".join(parts)


def _queue(one: NodeStatus) -> str:
    if one.queue is None:
        return _("not known")
    return queue_states(one.queue.active, one.queue.deferred, one.queue.held)
