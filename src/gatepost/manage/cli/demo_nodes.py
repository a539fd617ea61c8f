"""`gatepost demo --nodes 3`: nodes of one site on PostgreSQL, one of which is killed while it has mail.

As in the other demonstration everything is real. Which node delivered is read from what the partner got, in the
Received field that the partner wrote; the rest is read back from the nodes that live.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from gatepost.manage.cli import demo_partner
from gatepost.manage.cli.demo_partner import OWN_SERVER, Gatepost, issue
from gatepost.manage.cli.demo_postgres import DemoPostgres, PostgresMissingError, find_postgres
from gatepost.manage.cli.options import BAD_INPUT, ending
from gatepost.manage.cli.output import _, quantity, say
from gatepost.testing.process import free_port

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

_SENDER: Final = "ann@contoso.example"
_RECIPIENT: Final = "bob@fabrikam.example"
_WAITING: Final = 10  # messages that the node has when it is killed
_SILENCE: Final = 15  # seconds, as by default
_PATIENCE: Final = 60.0
# The top field of a message is the partner's own, and begins with the name that the node gave.
_NODE: Final = re.compile(r"^Received: from (mx\d+)\.contoso\.example", re.MULTILINE)
_NUMBER: Final = re.compile(r"^Subject: message (\d+)$", re.MULTILINE)


def _resources(port: int, root: Path) -> dict[str, object]:
    forced = {"tls_settings": "domain-validation", "tls_domain": "mail.fabrikam.example", "trust_anchors": str(root)}
    return demo_partner.contoso([demo_partner.partner_connector("fabrikam.example", port, **forced)])


class NodesDemo:
    """PostgreSQL, the nodes and the partner; `stack` ends them."""

    def __init__(self, stack: ExitStack, home: Path, count: int) -> None:
        """Make all, start nothing. Fails with a sentence where PostgreSQL is not installed."""
        with ending(BAD_INPUT, PostgresMissingError):
            programs, self._version = find_postgres()
        self._sent = 0
        authority, self._root = demo_partner.new_authority(home)
        ports = (free_port(), free_port())
        partners_files = issue(authority, home, "mail.fabrikam.example")
        self._partner = demo_partner.choose_partner(home / "partner", *partners_files, ports, ["fabrikam.example"])
        self._partner_port = ports[0]
        stack.callback(self._partner.stop)
        self._postgres = DemoPostgres(home / "postgresql", programs)
        stack.callback(self._postgres.stop)
        certificate = issue(authority, home, *(f"mx{number}.contoso.example" for number in range(1, count + 1)))
        self._nodes = [self._node(home, number, certificate) for number in range(1, count + 1)]
        for node in self._nodes:
            stack.callback(node.stop)

    def _node(self, home: Path, number: int, certificate: tuple[Path, Path]) -> Gatepost:
        name, port = f"mx{number}", free_port()
        hostname = f"{name}.contoso.example"
        settings = demo_partner.gateway_settings(home / name, hostname, port, certificate, {"node": name})
        settings |= {
            "store": {"url": self._postgres.url, "takeover_after": f"{_SILENCE}s"},
            "queue": {"retry": ["2s"]},
        }
        resources = _resources(self._partner_port, self._root) if number == 1 else {}
        return Gatepost(home / name, settings, resources, port)

    def start(self) -> None:
        """Start everything, and say where it is."""
        self._postgres.start()
        self._partner.start()
        for node in self._nodes:  # the first makes the tables, and writes the configuration of all
            node.start()
        places = ", ".join(
            _("%(name)s on 127.0.0.1:%(port)s", name=node.home.name, port=node.port) for node in self._nodes
        )
        say(
            "PostgreSQL %(version)s with one site of %(nodes)s:\n%(places)s;",
            version=self._version,
            nodes=quantity(len(self._nodes), "node"),
            places=places,
        )
        say(
            "partner mail.fabrikam.example: %(kind)s, on 127.0.0.1:%(partner_port)s\n",
            kind=self._partner.kind,
            partner_port=self._partner_port,
        )

    def tell(self) -> Gatepost:
        """Tell the story; returns a node that runs and can be asked."""
        first, second, *_others = self._nodes
        self._tell_each_takes()
        self._partner.stop()
        # Connections are taken, and nobody says a word, as by a server that hangs: the mail stays with the first node.
        with _hung_server(self._partner_port):
            self._tell_waiting(first, second)
            killed = time.monotonic()
            first.kill()
            self._tell_killed(first, second)
        self._partner.start()
        self._tell_taken_over(killed)
        first.start()
        say("  5  %(name)s starts again", name=first.home.name)
        self._send_and_wait(first)
        self._say_totals()
        say("\nThe site, as every node sees it (gatepost node list, on %(name)s):", name=second.home.name)
        _say_nodes(second)
        return second

    def record(self, node: Gatepost) -> dict[str, object]:
        """The story for programs. delivered: messages by the node that delivered them. node: runs, and is asked."""
        delivered = self._delivered()
        return {
            "partner": self._partner.kind,
            "sent": self._sent,
            "delivered": Counter(name for names in delivered.values() for name in names),
            "lost": self._sent - len(delivered),
            "twice": sum(len(names) > 1 for names in delivered.values()),
            "nodes": json.loads(node.command("node", "list", "--json")),
        }

    def _tell_each_takes(self) -> None:
        say("  1  every node takes mail and delivers it")
        for node in self._nodes:
            self._send_and_wait(node)

    def _tell_waiting(self, first: Gatepost, second: Gatepost) -> None:
        say(
            "  2  the partner does not answer, and %(name)s takes %(messages)s",
            name=first.home.name,
            messages=quantity(_WAITING, "message"),
        )
        for _number in range(_WAITING):
            self._send(first)
        waiting = len(json.loads(second.command("queue", "list", "--json")))
        say(
            "      250 for each. The queue of the site, asked on %(name)s: %(waiting)s",
            name=second.home.name,
            waiting=waiting,
        )

    def _tell_killed(self, first: Gatepost, second: Gatepost) -> None:
        say("  3  %(name)s is killed with them: kill -9 of all its processes", name=first.home.name)
        self._send(second)
        say("      %(name)s takes a message meanwhile: 250", name=second.home.name)

    def _tell_taken_over(self, killed: float) -> None:
        say("  4  the partner answers again; the others take over what %(name)s had", name=self._nodes[0].home.name)
        self._wait()
        lasted = time.monotonic() - killed
        say(
            "      all is delivered %(lasted)s s after the kill; a node that says nothing for %(silence)s s is dead",
            lasted=f"{lasted:.0f}",
            silence=_SILENCE,
        )
        self._say_totals()

    def _send(self, node: Gatepost) -> None:
        """Send one message, each with a number. Raises smtplib.SMTPException if the node does not take it."""
        self._sent += 1
        demo_partner.send_message(node.port, _SENDER, _RECIPIENT, f"message {self._sent}", self._root, OWN_SERVER)

    def _send_and_wait(self, node: Gatepost) -> None:
        self._send(node)
        self._wait()
        (by,) = self._delivered()[self._sent]
        say("      %(name)s took message %(sent)s, %(by)s delivered it", name=node.home.name, sent=self._sent, by=by)

    def _wait(self) -> None:
        """Until the partner has all that was sent."""
        deadline = time.monotonic() + _PATIENCE
        while len(self._delivered()) < self._sent:
            if time.monotonic() > deadline:
                raise click.ClickException(
                    _("the partner has not got everything within %(patience)s s", patience=f"{_PATIENCE:.0f}")
                )
            time.sleep(0.2)

    def _delivered(self) -> dict[int, list[str]]:
        """The nodes that delivered each message, as the partner saw it: one, if it arrived once."""
        result: dict[int, list[str]] = {}
        for path in self._partner.arrived():
            text = path.read_text(encoding="latin-1")
            number, by = _NUMBER.search(text), _NODE.search(text)
            if number and by:
                result.setdefault(int(number[1]), []).append(by[1])
        return result

    def _say_totals(self) -> None:
        """What became of what was acknowledged, counted at the partner."""
        delivered = self._delivered()
        by = Counter(name for names in delivered.values() for name in names)
        shares = ", ".join(_("%(count)s by %(name)s", count=count, name=name) for name, count in sorted(by.items()))
        twice = sum(len(names) > 1 for names in delivered.values())
        say(
            "      250 for %(sent)s, the partner has %(by)s (%(shares)s):",
            sent=self._sent,
            by=by.total(),
            shares=shares,
        )
        say("      %(sent)s lost, %(twice)s twice", sent=self._sent - len(delivered), twice=twice)


def _hung_server(port: int) -> socket.socket:
    """Listens on the port of the partner that was stopped, and never says a word."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return socket.create_server(("127.0.0.1", port), backlog=100)
        except OSError:  # processes of Postfix end after their master
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _say_nodes(node: Gatepost) -> None:
    for line in node.command("node", "list").splitlines():
        click.echo(f"  {line}")
