"""`gatepost site …`: the internal authority and its nodes. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "init": ("site_init", "init", "Create the site's authority here; this gateway becomes its first node."),
    "token": ("site_join", "token", "Create a token with which one node can join."),
    "join": ("site_join", "join", "Join a site: make this gateway one of its nodes."),
    "leave": ("site_join", "leave", "Leave the site of this node."),
    "status": ("site_status", "status", "Show the authority, nodes with their certificates, and open tokens."),
    "nodes": ("site_nodes", "nodes", "Remove nodes and tokens."),
    "root": ("site_nodes", "root", "Print the root that connectors and other servers must trust."),
    "issue": ("site_issue", "issue", "Issue a certificate with its key for an on-premises server."),
    "history": ("site_nodes", "history", "Show who changed the site, when and why."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def site() -> None:
    """Manage the internal authority of a site: certificates for its nodes, and for on-premises servers."""
