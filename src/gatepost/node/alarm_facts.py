"""Gather what alarms about mail need to know of this gateway beside its mail: configuration, disk, workers, nodes.

Made by `node.site_duties`, called by `node.alarms` on a thread, since it blocks. `analysis.reports.mail_facts` gathers
what mail shows, and `analysis.alarms.mail_flow` decides what all of it means.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gatepost.analysis.alarms.machine import MachineFacts, OldPrimary, SilentNode
from gatepost.analysis.alarms.partners import ConnectorChange
from gatepost.events.delivery_problems import RECORDS_DOWN
from gatepost.node.machine_report import HOUR, MachineLook
from gatepost.store.figures import WORKERS_DIRECTORY, read_all
from gatepost.store.interface import StoreFailure
from gatepost.store.nodes import Node, NodeState
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gatepost.analysis.alarms.mail_flow import MailFacts
    from gatepost.events.machine_report import EndedProcess
    from gatepost.mail.model.queue_share import QueueShare
    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.store.changes import Change, ConfigStore


SILENCE: Final = 60.0
"""Seconds without a heartbeat after which a node is an alarm: longer than a restart takes."""

_CHANGES: Final = 10  # of one organization that are looked at
_ORGANIZATIONS: Final = 20  # with failing partners whose changes are looked at
_WEEK: Final = 7 * 86400.0  # a change is named as long as mail fails after it, but not for ever

_log = logging.getLogger(__name__)


class AlarmFacts:
    """find: what mail shows at a time. directory: in force. nodes: of the site, None if they cannot be read.

    failure: why this worker can store no mail now, None if it can. ahead: seconds that the clock was put ahead.
    refused: the organizations whose mail is refused for what they have in the queue.
    older_primaries: of PostgreSQL, as `Storage` tells them. reason: why the oldest message for a destination waits.
    """

    def __init__(  # noqa: PLR0913 - where each fact comes from
        self,
        settings: Settings,
        resources: ConfigStore,
        directory: Callable[[], Directory],
        *,
        find: Callable[[float], MailFacts],
        nodes: Callable[[], Sequence[Node] | None],
        failure: Callable[[], StoreFailure | None],
        ahead: Callable[[], float],
        refused: Callable[[], tuple[QueueShare, ...]],
        older_primaries: Callable[[], Iterable[tuple[str, int, int]] | None] = tuple,
        reason: Callable[[str], str] = str,
    ) -> None:
        self._settings = settings
        self._resources = resources
        self._directory = directory
        self._find = find
        self._nodes = nodes
        self._failure = failure
        self._ahead = ahead
        self._refused = refused
        self._older_primaries = older_primaries
        self._reason = reason
        self._data = Path(settings.server.data_dir)
        self._silent: frozenset[str] = frozenset()
        self._is_known = not resources.is_shared  # whether the database could be read at the last look
        self._look = MachineLook(settings)
        self._known: tuple[int, Sequence[str], tuple[ConnectorChange, ...]] = 0, [], ()  # in which version, of whom

    def find(self, now: float) -> MailFacts:
        """All that is known at `now`, seconds since 1970."""
        facts, machine = self._find(now), self._machine(now)
        nodes = self._nodes() if self._resources.is_shared else ()
        if 0 < self._settings.alarms.queue_age <= (facts.oldest or 0):
            facts = replace(facts, reason=self._reason(facts.destination))
        ahead, primaries = self._ahead(), self._older_primaries()
        own = next((node for node in nodes or () if node.name == machine.node), None)
        if own is not None and not ahead:
            machine = replace(machine, ahead=_ahead_of_database(own))
        owners = sorted({partner.organization for partner in facts.failing if partner.by_connector})
        facts = replace(
            facts,
            ahead=ahead,
            catch_alls=frozenset(_catch_alls(self._directory())),
            changes=self._changes(owners[:_ORGANIZATIONS], now),
            machines=(machine, *self._machines_elsewhere(nodes or (), now)),
            old_primaries=None if primaries is None else tuple(OldPrimary(*primary) for primary in primaries),
            silent=None if nodes is None else self._silent_nodes(nodes, now),
            refused=self._refused(),
        )
        was_known, self._is_known = self._is_known, nodes is not None
        return facts if was_known and self._is_known else _without_outage(facts)

    def _changes(self, organizations: Sequence[str], now: float) -> tuple[ConnectorChange, ...]:
        """The last changes of connectors; read once in a version, as each is a whole organization, before and after.

        Those of the look before while the history cannot be read: so the alarms say what they said.
        """
        if not organizations:
            return ()
        version = self._directory().version
        if self._known[:2] != (version, organizations):
            try:
                self._known = version, organizations, tuple(self._read_changes(organizations, now))
            except StoreFailure as failure:
                _log.warning("recent changes of connectors are not known: %s", failure)
        return tuple(change for change in self._known[2] if change.at > now - _WEEK)

    def _read_changes(self, organizations: Iterable[str], now: float) -> Iterator[ConnectorChange]:
        with contextlib.closing(self._resources.another()) as store:
            for organization in organizations:
                for change in store.history("organization", organization, _CHANGES):
                    if change.at > now - _WEEK:
                        yield from _connector_changes(change)

    def _machine(self, now: float) -> MachineFacts:
        """That of this node: other workers say in files why they take no mail."""
        report = self._look.report(now, self._failure())
        workers = self._settings.server.workers or len(os.sched_getaffinity(0))
        refusals = [text for text in (report.refusal, *self._reasons(workers)) if text]
        node = self._settings.server.node_name if self._resources.is_shared else ""
        return MachineFacts(tuple(refusals), workers, report.disk, report.ended, node, unserved=report.unserved)

    def _machines_elsewhere(self, nodes: Sequence[Node], now: float) -> Iterator[MachineFacts]:
        """Those of other nodes as their heartbeats say; of dead ones, as the last did, but an end is over in time."""
        for node in nodes:
            beats = sorted(node.workers, key=lambda worker: worker.age)  # who hangs says what was
            reports = [worker.figures.machine for worker in beats if worker.figures.machine is not None]
            if reports and node.state is not NodeState.STOPPED and node.name != self._settings.server.node_name:
                refusals = tuple(report.refusal for report in reports if report.refusal)
                ended = reports[0].ended if node.state.is_alive else tuple(_last_hour(node, reports[0].ended, now))
                ahead = _ahead_of_database(node) if node.state.is_alive else 0.0
                unserved = reports[0].unserved if node.state.is_alive else ""
                yield MachineFacts(refusals, len(node.workers), reports[0].disk, ended, node.name, ahead, unserved)

    def _reasons(self, workers: int) -> Iterator[str]:
        """Why other workers of this node take no mail. workers: how many there are; files of former ones remain."""
        for figures in read_all(self._data / WORKERS_DIRECTORY):
            if not figures.reason or figures.worker >= workers:
                continue
            if figures.pid != os.getpid() and _lives(figures.pid):
                yield figures.reason

    def _silent_nodes(self, nodes: Sequence[Node], now: float) -> tuple[SilentNode, ...]:
        """Nodes that were silent at the look before, too: when the database is back, none was heard of for a moment."""
        dead = {node.name: node for node in nodes if node.state is NodeState.DEAD and node.age >= SILENCE}
        silent = tuple(SilentNode(name, dead[name].host, now - dead[name].age) for name in self._silent & dead.keys())
        self._silent = frozenset(dead)
        return tuple(sorted(silent, key=lambda node: node.name))


def _without_outage(facts: MailFacts) -> MailFacts:
    """What is known while the database is away, and at the first look after it, when much of it is of before.

    `node.outage_post` tells of it; who raises alarms next could not know, nor tell of the end.
    """
    return replace(
        facts,
        failing=tuple(record for record in facts.failing if record.result_type != RECORDS_DOWN),
        machines=tuple(replace(machine, refusals=()) for machine in facts.machines),
        silent=None,
    )


def _ahead_of_database(node: Node) -> float:
    """Seconds that the clock of a node is ahead, as its worker that was heard last says; 0.0 if none did."""
    beat = min(node.workers, key=lambda worker: worker.age, default=None)
    return beat.figures.offset if beat is not None else 0.0


def _last_hour(node: Node, ended: Iterable[EndedProcess], now: float) -> Iterator[EndedProcess]:
    """Ends at a dead node, by the database's clock: itself, it does not say any more that an hour is over."""
    ahead = node.workers[0].figures.offset
    return (process for process in ended if process.at - ahead > now - HOUR)


def _catch_alls(directory: Directory) -> Iterator[tuple[str, str]]:
    for organization in directory.organizations:
        for connector in organization.outbound_connectors:
            if not connector.smart_hosts and "*" in connector.recipient_domains:
                yield organization.name, connector.name


def _connector_changes(change: Change) -> Iterator[ConnectorChange]:
    """The outbound connectors that a change of an organization changed or added; none where all of it is new."""
    if change.before is None:
        return
    before, after = _by_name(change.before), _by_name(change.after)
    for name in sorted(after):
        if before.get(name) != after[name]:
            yield ConnectorChange(change.name, name, change.version, change.at, change.author)


def _by_name(organization: dict[str, Any] | None) -> dict[str, Any]:
    return {str(connector.get("name")): connector for connector in (organization or {}).get("outbound_connector", ())}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
