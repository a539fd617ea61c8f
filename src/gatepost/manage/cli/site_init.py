"""`gatepost site init`: the authority of a site, and its first node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.options import BAD_INPUT, author, fail, gateway_options, local_settings
from gatepost.manage.cli.output import _, printed_json, say
from gatepost.manage.cli.site_store import checked_host, opened
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.site.membership import Member, own_certificate
from gatepost.pki.site.site import Site

if TYPE_CHECKING:
    from gatepost.pki.site.records import SiteAuthority
    from gatepost.pki.site.store import SiteStore
    from gatepost.settings.model import Settings


@click.command()
@click.option("--name", default="", help="Name of the site. Default: the domain of server.hostname.")
@click.option(
    "--domain",
    "domains",
    multiple=True,
    metavar="DOMAIN",
    help="Limit the authority to names in this domain. May be repeated. Default: any name.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Create the next authority; the previous one stays trusted until no node needs it.",
)
@click.option("--now", "at_once", is_flag=True, help="With --replace: the new authority signs at once.")
@gateway_options
def init(name: str, domains: tuple[str, ...], *, replace: bool, at_once: bool) -> None:
    """Create the internal authority of a site here, and certify this gateway as its first node.

    The key is sealed in the store. The command prints the thumbprint (SHA-256) of the root. With --domain, servers that
    trust the root trust it only for names in these domains: use it if an on-premises server will trust the root. The
    names of nodes must be in these domains, too.

    --replace creates another root, which signs after each node has renewed and so knows it. With --now, for a lost key,
    it signs at once, and nodes do not trust each other until both have renewed.

    Exit codes: 0 created, 1 changed by somebody else at the same time, 2 usage error, or it exists already, 3 the data
    cannot be read.
    """
    settings = local_settings()
    limits = tuple(dict.fromkeys(checked_host("--domain", domain) for domain in domains))
    if at_once and not replace:
        fail(BAD_INPUT, "--now needs --replace: a first authority signs at once")
    if replace and name:
        fail(
            BAD_INPUT,
            "--name cannot be changed, because the certificates of the nodes contain it; leave the option out",
        )
    with opened(settings) as records:
        members = records.memberships()
        if not replace and members and not records.state().authorities:
            who = (
                _("this gateway")
                if records.kept_under() in members
                else _("%(members)s, which has the same database,", members=min(members))
            )
            fail(BAD_INPUT, "%(who)s is a node of another site; leave that first: gatepost site leave", who=who)
        made = _replaced(records, settings, limits, at_once) if replace else _made(records, settings, name, limits)
    if not printed_json(made):
        click.echo(made.sha256)


def _made(records: SiteStore, settings: Settings, name: str, limits: tuple[str, ...]) -> SiteAuthority:
    node, now = settings.server.hostname, time.time()
    if limits and not any(f".{node}".endswith(f".{limit}") for limit in limits):
        fail(BAD_INPUT, "--domain: %(node)s, this gateway itself, is in none of them; nothing was created", node=node)
    site = (name or node.partition(".")[2] or node).lower()
    made = Site(records).init(site, limits, author=author(), now=now)
    own = own_certificate(records, node, lifetime=settings.site.node_lifetime, author=author(), now=now)
    say(
        "site %(site)s: its authority is here, until %(not_after)s; its key is sealed in the store",
        err=True,
        site=site,
        not_after=moment(made.not_after),
    )
    say(
        "node %(node)s: certificate until %(not_after)s; the gateway renews it",
        err=True,
        node=node,
        not_after=moment(own.not_after),
    )
    if records.store.is_shared:
        say("the other nodes of this database certify themselves as soon as they run", err=True)
    if not limits:
        say(
            "warning: without --domain the authority can certify any name; before "
            "another server trusts its root, run: gatepost site init --replace --now "
            "--domain DOMAIN",
            err=True,
        )
    if not settings.site.address:
        say('other nodes can join after you set [site] address, such as "0.0.0.0:8444", and restart serve', err=True)
    say("SHA-256 of the root:", err=True)
    return made


def _replaced(records: SiteStore, settings: Settings, limits: tuple[str, ...], at_once: bool) -> SiteAuthority:
    now = time.time()
    signs_from = now if at_once else now + settings.site.node_lifetime
    made = Site(records).replace(limits or None, signs_from, author=author(), now=now)
    member = Member(records).membership()
    if at_once and member is not None:
        own_certificate(records, member.node, lifetime=settings.site.node_lifetime, author=author(), now=now)
    say(
        "site %(site)s: the new authority signs from %(signs_from)s on; nodes trust both "
        "while the previous one is needed. Give its root to everyone who trusts the old one: "
        "gatepost site root. SHA-256 of the new root:",
        err=True,
        site=made.site,
        signs_from=moment(signs_from),
    )
    return made
