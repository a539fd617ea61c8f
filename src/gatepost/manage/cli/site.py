"""`gatepost site …`: the internal authority and its nodes. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "init": ("site_init", "init", "Make the site's authority here; this gateway becomes its first node."),
    "token": ("site_join", "token", "A token by which one node can join."),
    "join": ("site_join", "join", "Make this gateway a node of a site."),
    "leave": ("site_join", "leave", "Forget the site whose node this gateway is."),
    "status": ("site_status", "status", "Authority, nodes with their certificates, open tokens."),
    "nodes": ("site_nodes", "nodes", "Remove nodes and tokens."),
    "root": ("site_nodes", "root", "Print the root that connectors and other servers are to trust."),
    "issue": ("site_issue", "issue", "A certificate for an on-premises server, with its key."),
    "history": ("site_nodes", "history", "Who changed the site, when and why."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def site() -> None:
    """The internal authority of a site: certificates for its nodes, and for on-premises servers."""
