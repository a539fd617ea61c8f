"""`gatepost demo`: a gateway and a partner on loopback, five messages, what happened to each and why.

Everything is real: processes, sockets, certificates of a private CA, Postfix as the partner where it is installed.
What is printed is read back from the gateway's own message trace.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import smtplib
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click

from gatepost.manage.cli import demo_partner
from gatepost.manage.cli.demo_partner import OWN_SERVER, Gatepost, issue, partner_connector
from gatepost.manage.cli.options import NO, ending, json_option
from gatepost.manage.cli.output import _, printed_json, quantity, say, wants_json
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.testing.process import free_port
from gatepost.texts import N_

_DOMAINS = ["fabrikam.example", "oldtimer.example", "insurer.example", "northwind.example"]
_PATIENCE = 60.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class _Case:
    """One message: what is asked for, who sends it how, and the trace event that ends the story."""

    title: str
    sender: str
    recipient: str
    tls: bool
    ends_with: str


_CASES = (
    _Case(N_("opportunistic, partner offers TLS"), "ann@contoso.example", "bob@fabrikam.example", True, "SEND"),
    _Case(N_("opportunistic, partner has no TLS"), "ann@contoso.example", "bob@oldtimer.example", True, "SEND"),
    _Case(N_("forced, certificate verified"), "ann@contoso.example", "bob@insurer.example", True, "SEND"),
    _Case(N_("forced, certificate has another name"), "ann@contoso.example", "bob@northwind.example", True, "DEFER"),
    _Case(N_("inbound, TLS required, none used"), "results@lab.example", "ann@contoso.example", False, "REFUSE"),
)


class _Story(NamedTuple):
    """gateway: runs, and can be asked. record: the story for programs. commands: to try on it."""

    gateway: Gatepost
    record: dict[str, Any]
    commands: list[str]


def _resources(ports: tuple[int, int], root: Path) -> dict[str, object]:
    forced = {"tls_settings": "domain-validation", "trust_anchors": str(root)}
    outbound = [
        partner_connector("fabrikam.example", ports[0]),
        partner_connector("oldtimer.example", ports[1]),
        partner_connector("insurer.example", ports[0], tls_domain="*.fabrikam.example", **forced),
        partner_connector("northwind.example", ports[0], tls_domain="mail.northwind.example", **forced),
    ]
    lab = {"name": "lab", "connector_type": "partner", "sender_domains": ["lab.example"], "require_tls": True}
    return demo_partner.contoso(outbound, [lab], mailbox=[{"address": "ann@contoso.example"}])


def _send(case: _Case, port: int, root: Path) -> None:
    source = OWN_SERVER if case.sender.endswith("@contoso.example") else "127.0.0.1"
    try:
        demo_partner.send_message(port, case.sender, case.recipient, case.title, root if case.tls else None, source)
    except smtplib.SMTPException as refused:
        # The trace says why; the reply itself is part of what the demonstration shows.
        say("      the gateway refused it on the wire: %(refused)s", err=True, refused=_reply(refused))


def _reply(refused: smtplib.SMTPException) -> str:
    """What the server said, as it said it; smtplib's own text is a tuple of a number and octets."""
    if isinstance(refused, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(refused.recipients.values()))
        return f"{code} {text.decode('ascii', 'replace')}"
    if isinstance(refused, smtplib.SMTPResponseException):
        said = refused.smtp_error
        return f"{refused.smtp_code} {said if isinstance(said, str) else said.decode('ascii', 'replace')}"
    return str(refused)


def _end_of(gateway: Gatepost, case: _Case) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        text = gateway.command("trace", "search", "--event", case.ends_with, "--sender", case.sender, "--json")
        events: list[dict[str, Any]] = json.loads(text)
        for event in events:
            # What is refused at MAIL has no recipient.
            if event["recipient"] in {"", case.recipient}:
                return event
        time.sleep(0.3)
    raise click.ClickException(
        _(
            "%(title)s: the trace shows no %(ends_with)s within %(patience)s s",
            title=case.title,
            ends_with=case.ends_with,
            patience=f"{_PATIENCE:.0f}",
        )
    )


def _say(number: int, case: _Case, event: dict[str, Any]) -> None:
    outcome = {"SEND": "delivered", "DEFER": _("waiting, not sent"), "REFUSE": "refused"}[event["event"]]
    tls = f"{event.get('tls_version', '')} {event.get('tls_group', '')}".strip() or "unencrypted"
    click.echo(f"  {number}  {_(case.title)}")
    click.echo(f"      {case.sender} -> {case.recipient}: {outcome} ({tls})")
    say(
        "      requirement %(requirement)s, achieved %(achieved)s",
        requirement=event.get("requirement") or "-",
        achieved=event.get("achieved") or "-",
    )
    say("      reply: %(reply)s", reply=event.get("reply", ""))
    for reason in event.get("detail", {}).get("reasons", []):
        say("      why: %(reason)s", reason=reason)


def _say_queue(queue: list[dict[str, Any]]) -> None:
    for entry in queue:
        say(
            "  %(id)s %(state)s, to %(destination)s, %(attempts)s, next %(next_at)s, expires %(expires_at)s",
            id=entry["message"]["id"],
            state=entry["state"],
            destination=entry["destination"],
            attempts=quantity(entry["attempts"], "attempt"),
            next_at=moment(entry["next_at"]),
            expires_at=moment(entry["expires_at"]),
        )


def _say_admin_centre(gateway: Gatepost, *, keep: bool, nodes: int | None) -> str:
    """The address of the admin centre: with its set-up code while it can be opened, else where it was."""
    if keep:
        url: str = json.loads(gateway.command("user", "setup", "--json"))["url"]
        say("\nOpen the admin centre and create the owner account (once, within 30 minutes):\n  %(url)s", url=url)
        return url
    again = f"gatepost demo{f' --nodes {nodes}' if nodes else ''} --keep"
    say(
        "\nThe demonstration ends here. Its admin centre was at %(admin)s; to open it, run: %(again)s",
        admin=gateway.admin,
        again=again,
    )
    return gateway.admin


def _run(stack: ExitStack, home: Path) -> tuple[Gatepost, dict[str, Any]]:
    """Tell the story of five messages; returns the gateway, and the story for programs."""
    authority, root = demo_partner.new_authority(home)
    ports, port = (free_port(), free_port()), free_port()
    files = issue(authority, home, "mail.fabrikam.example")
    partner = demo_partner.choose_partner(home / "partner", *files, ports, _DOMAINS)
    stack.callback(partner.stop)
    certificate = issue(authority, home, "mx.contoso.example")
    settings = demo_partner.gateway_settings(home / "gateway", "mx.contoso.example", port, certificate)
    gateway = Gatepost(home / "gateway", settings, _resources(ports, root), port)
    stack.callback(gateway.stop)
    partner.start()
    gateway.start()
    say(
        "gateway mx.contoso.example on 127.0.0.1:%(port)s; partner mail.fabrikam.example: %(kind)s,",
        port=port,
        kind=partner.kind,
    )
    say(
        "on 127.0.0.1:%(tls_port)s with TLS and on 127.0.0.1:%(plain_port)s without; private CA %(root)s\n",
        tls_port=ports[0],
        plain_port=ports[1],
        root=root,
    )
    messages = []
    for number, case in enumerate(_CASES, 1):
        _send(case, port, root)
        event = _end_of(gateway, case)
        _say(number, case, event)
        messages.append({"title": case.title, "sender": case.sender, "recipient": case.recipient, "event": event})
    say(
        "\nThe partner has %(number)s messages: two over TLS, and the one it can only take unencrypted.",
        number=len(partner.arrived()),
    )
    say("The fourth waits in the queue until the partner presents the expected name:")
    queue: list[dict[str, Any]] = json.loads(gateway.command("queue", "list", "--json"))
    _say_queue(queue)
    return gateway, {"partner": partner.kind, "messages": messages, "queue": queue}


def _one_gateway(stack: ExitStack, home: Path) -> _Story:
    """The story of five messages."""
    question = f"--ip {OWN_SERVER} --from ann@contoso.example --to bob@insurer.example"
    gateway, record = _run(stack, home)
    return _Story(gateway, record, [f"explain {question}", "connector drill insurer.example", "trace search"])


def _several_nodes(stack: ExitStack, home: Path, count: int) -> _Story:
    """The story of a node that dies, told by another one."""
    from gatepost.manage.cli.demo_nodes import NodesDemo  # noqa: PLC0415 - the usual demonstration needs no PostgreSQL

    demonstration = NodesDemo(stack, home, count)
    demonstration.start()
    gateway = demonstration.tell()
    return _Story(gateway, demonstration.record(gateway), ["node list", "status", "node drain mx1 --wait"])


def _stay(gateway: Gatepost, commands: list[str]) -> None:
    """Say what to try, and return after Ctrl-C or SIGTERM."""
    # Blocked before anybody is told of them: a signal that came just before sigwait would be an interrupt.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    say("Still running. Try:")
    for words in commands:
        click.echo(f"  gatepost --config {shlex.quote(str(gateway.settings_file))} {words}")
    say("Ctrl-C ends it.")
    signal.sigwait(_ENDING)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


@click.command()
@click.option("--keep", is_flag=True, help="Keep running until Ctrl-C, so that you can try commands.")
@click.option(
    "--nodes",
    type=click.IntRange(2, 5),
    metavar="NUMBER",
    help="Number of nodes, 2 to 5: show how nodes share one PostgreSQL, and how the others continue when one dies.",
)
@json_option
def demo(keep: bool, nodes: int | None) -> None:
    """Run a gateway and a partner on loopback, and explain what happens to five messages.

    The servers are real. They run in a temporary folder; at the end the command stops them and removes it. --nodes
    needs PostgreSQL 15 or newer (Debian: postgresql); it starts its own server, and does not touch the machine's. With
    --json the story goes to standard error, and one object on standard output has the traces of the messages, or what
    each node delivered.

    Exit codes: 0 done, 1 something did not work as it should, 2 usage error, or PostgreSQL is missing.
    """
    for number in _ENDING:
        signal.signal(number, signal.default_int_handler)  # no server of ours is left behind
    temporary = tempfile.TemporaryDirectory(prefix="gatepost-demo-")
    with ending(NO, RuntimeError), _common_umask(), temporary as folder, ExitStack() as stack:
        home = Path(folder)
        with _story_stream():
            story = _several_nodes(stack, home, nodes) if nodes else _one_gateway(stack, home)
            admin = _say_admin_centre(story.gateway, keep=keep, nodes=nodes)
        settings = str(story.gateway.settings_file) if keep else None
        printed_json({"settings": settings, "admin_centre": admin, **story.record})
        if keep:
            with _story_stream():
                _stay(story.gateway, story.commands)


@contextmanager
def _common_umask() -> Iterator[None]:
    """Make files as most accounts do: Postfix has accounts of its own, and a gateway refuses what others can change."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _story_stream() -> AbstractContextManager[Any]:
    """Tell the story on standard output; with `--json` on standard error."""
    return redirect_stdout(sys.stderr) if wants_json() else nullcontext()
