"""`gatepost demo`: a gateway and a partner on loopback, five messages, what happened to each and why.

Everything is real: processes, sockets, certificates of a private CA, Postfix as the partner where it is installed.
What is printed is read back from the gateway's own message trace.
"""

from __future__ import annotations

import json
import signal
import smtplib
import ssl
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gatepost.manage.cli.demo_partner import Gatepost, as_whom, choose_partner
from gatepost.manage.cli.demo_ports import free_port
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.certificates.authority import Authority
from gatepost.quantity import quantity

_DOMAINS = ["fabrikam.example", "oldtimer.example", "insurer.example", "northwind.example"]
_PATIENCE = 20.0
_OWN_SERVER = "127.0.0.2"  # where the organization's own server sends from; partners send from 127.0.0.1


@dataclass(frozen=True, slots=True)
class _Case:
    """One message: what is asked for, who sends it how, and the trace event that ends the story."""

    title: str
    sender: str
    recipient: str
    tls: bool
    ends_with: str


_CASES = (
    _Case("opportunistic, partner offers TLS", "ann@contoso.example", "bob@fabrikam.example", True, "SEND"),
    _Case("opportunistic, partner has no TLS", "ann@contoso.example", "bob@oldtimer.example", True, "SEND"),
    _Case("forced, certificate verified", "ann@contoso.example", "bob@insurer.example", True, "SEND"),
    _Case("forced, certificate has another name", "ann@contoso.example", "bob@northwind.example", True, "DEFER"),
    _Case("inbound, TLS required, none used", "results@lab.example", "ann@contoso.example", False, "REFUSE"),
)


def _connector(domain: str, port: int, **fields: str) -> dict[str, Any]:
    base = {"name": domain, "connector_type": "partner", "recipient_domains": [domain]}
    return base | {"smart_hosts": [f"127.0.0.1:{port}"], "use_mx_record": False} | fields


def _resources(ports: tuple[int, int], root: Path) -> dict[str, object]:
    forced = {"tls_settings": "domain-validation", "trust_anchors": str(root)}
    organization = {
        "display_name": "Contoso Hospital",
        "accepted_domain": [{"name": "contoso.example"}],
        "mailbox": [{"address": "ann@contoso.example"}],
        "inbound_connector": [
            {
                "name": "own servers",
                "connector_type": "on-premises",
                "sender_ip_addresses": [_OWN_SERVER],
                "associated_accepted_domains": ["contoso.example"],
            },
            {"name": "lab", "connector_type": "partner", "sender_domains": ["lab.example"], "require_tls": True},
        ],
        "outbound_connector": [
            _connector("fabrikam.example", ports[0]),
            _connector("oldtimer.example", ports[1]),
            _connector("insurer.example", ports[0], tls_domain="*.fabrikam.example", **forced),
            _connector("northwind.example", ports[0], tls_domain="mail.northwind.example", **forced),
        ],
    }
    return {"organization": {"contoso": organization}}


def _settings(home: Path, port: int, chain: Path, key: Path) -> dict[str, object]:
    return {
        "server": {
            "hostname": "mx.contoso.example",
            "data_dir": str(home / "gateway" / "data"),
            "workers": 1,
            **as_whom(),
        },
        "listener": [{"role": "mx", "address": f"127.0.0.1:{port}"}],
        "certificate": [{"chain": str(chain), "key": str(key)}],
        "admin": {"address": f"127.0.0.1:{free_port()}"},
    }


def _issue(authority: Authority, home: Path, name: str) -> tuple[Path, Path]:
    chain, key = home / f"{name}.pem", home / f"{name}.key"
    chain_pem, key_pem = authority.issue([name])
    chain.write_bytes(chain_pem)
    key.touch(0o600)
    key.write_bytes(key_pem)
    return chain, key


def _send(case: _Case, port: int, root: Path) -> None:
    text = f"From: <{case.sender}>\r\nTo: <{case.recipient}>\r\nSubject: {case.title}\r\n\r\nDemonstration.\r\n"
    source = _OWN_SERVER if case.sender.endswith("@contoso.example") else "127.0.0.1"
    with smtplib.SMTP(
        "127.0.0.1", port, local_hostname="client.example", timeout=10, source_address=(source, 0)
    ) as client:
        if case.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(root)
            context.check_hostname = False  # the demonstration connects to an address
            client.starttls(context=context)
        try:
            client.sendmail(case.sender, [case.recipient], text)
        except smtplib.SMTPException as refused:
            # The trace says why; the reply itself is part of what the demonstration shows.
            click.echo(f"      the gateway refused it on the wire: {refused}", err=True)


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
    raise click.ClickException(f"{case.title}: the trace shows no {case.ends_with} within {_PATIENCE:.0f} s")


def _say(number: int, case: _Case, event: dict[str, Any]) -> None:
    outcome = {"SEND": "delivered", "DEFER": "held, not sent", "REFUSE": "refused"}[event["event"]]
    tls = f"{event.get('tls_version', '')} {event.get('tls_group', '')}".strip() or "unencrypted"
    click.echo(f"  {number}  {case.title}")
    click.echo(f"      {case.sender} -> {case.recipient}: {outcome} ({tls})")
    click.echo(f"      requirement {event.get('requirement') or '-'}, achieved {event.get('achieved') or '-'}")
    click.echo(f"      reply: {event.get('reply', '')}")
    for reason in event.get("detail", {}).get("reasons", []):
        click.echo(f"      why: {reason}")


def _say_queue(gateway: Gatepost) -> None:
    for entry in json.loads(gateway.command("queue", "list", "--json")):
        click.echo(
            f"  {entry['message']['id']} {entry['state']}, to {entry['destination']}, "
            f"{quantity(entry['attempts'], 'attempt')}, next {moment(entry['next_at'])}, "
            f"expires {moment(entry['expires_at'])}"
        )


def _say_admin_centre(gateway: Gatepost, *, keep: bool) -> None:
    url = json.loads(gateway.command("user", "setup", "--json"))["url"]
    lasting = "once, within 30 minutes" if keep else "only while it runs: make demo KEEP=1"
    click.echo(f"\nThe admin centre, to create the owner account ({lasting}):\n  {url}")


def _run(stack: ExitStack, home: Path) -> Gatepost:
    root = home / "root.pem"
    authority = Authority("Demonstration Root", organization="gatepost demo")
    root.write_bytes(authority.certificate_pem)
    ports, port = (free_port(), free_port()), free_port()
    partner = choose_partner(home / "partner", *_issue(authority, home, "mail.fabrikam.example"), ports, _DOMAINS)
    stack.callback(partner.stop)
    settings = _settings(home, port, *_issue(authority, home, "mx.contoso.example"))
    gateway = Gatepost(home / "gateway", settings, _resources(ports, root), port)
    stack.callback(gateway.stop)
    partner.start()
    gateway.start()
    click.echo(f"gateway mx.contoso.example on 127.0.0.1:{port}; partner mail.fabrikam.example: {partner.kind},")
    click.echo(f"on 127.0.0.1:{ports[0]} with TLS and on 127.0.0.1:{ports[1]} without; private CA {root}\n")
    for number, case in enumerate(_CASES, 1):
        _send(case, port, root)
        _say(number, case, _end_of(gateway, case))
    click.echo(
        f"\nThe partner has {partner.arrived()} messages: two over TLS, and the one it can only take unencrypted."
    )
    click.echo("The fourth waits in the queue until the partner presents the expected name:")
    _say_queue(gateway)
    return gateway


@click.command()
@click.option("--keep", is_flag=True, help="Keep running until Ctrl-C, so that you can try commands.")
def demo(keep: bool) -> None:
    """Run a gateway and a partner on loopback, and explain what happens to five messages."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no server of ours is left behind
    with tempfile.TemporaryDirectory(prefix="gatepost-demo-") as folder, ExitStack() as stack:
        gateway = _run(stack, Path(folder))
        _say_admin_centre(gateway, keep=keep)
        if keep:
            # Blocked before anybody is told of them: a signal that came just before sigwait would be an interrupt.
            signal.pthread_sigmask(signal.SIG_BLOCK, ending := {signal.SIGINT, signal.SIGTERM})
            gatepost = f"gatepost --config {gateway.settings_file}"
            question = f"--ip {_OWN_SERVER} --from ann@contoso.example --to bob@insurer.example"
            click.echo(f"Still running. Try:\n  {gatepost} explain {question}")
            click.echo(f"  {gatepost} connector drill insurer.example\n  {gatepost} trace search\nCtrl-C ends it.")
            signal.sigwait(ending)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
