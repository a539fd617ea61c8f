"""`gatepost report …`: what the gateway has seen, summed up. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "tls": (
        "report_tls",
        "tls",
        "Show how mail was protected: shares, versions, failures, partners ready for mandatory TLS.",
    ),
    "connectors": ("report_tls", "connectors", "Show the same by connector."),
    "received": ("report_received", "received", "Show what others report about their connections to us (RFC 8460)."),
    "send": (
        "report_send",
        "send",
        "Send the TLS reports of a day now, or show them (RFC 8460).",
    ),
    "sent": ("report_sent", "sent", "List TLS reports that were sent, when and where to (RFC 8460)."),
    "tlsrpt": (
        "report_tlsrpt",
        "tlsrpt",
        "Show TLS sessions of a day by policy domain, policy and result (RFC 8460).",
    ),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def report() -> None:
    """Show reports: how mail was protected, and TLS sessions by domain and result."""
