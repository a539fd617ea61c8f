"""`gatepost report …`: what the gateway has seen, summed up. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "tls": ("report_tls", "tls", "How mail was protected: shares, versions, failures, partners ready to be forced."),
    "connectors": ("report_tls", "connectors", "The same by connector."),
    "received": ("report_received", "received", "What others report of their connections to us (RFC 8460)."),
    "send": (
        "report_send",
        "send",
        "Send TLS reports of a day now, or show what they say (RFC 8460).",
    ),
    "sent": ("report_sent", "sent", "Which TLS reports were sent to others, when and where to (RFC 8460)."),
    "tlsrpt": ("report_tlsrpt", "tlsrpt", "TLS sessions of a day by policy domain, policy and result (RFC 8460)."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def report() -> None:
    """What the gateway has seen, summed up."""
