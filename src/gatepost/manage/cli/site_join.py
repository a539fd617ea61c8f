"""`gatepost site init|token|join|leave`: the authority of a site, and how a gateway becomes one of its nodes."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from gatepost.manage.cli.options import BAD_INPUT, UNKNOWN, author, ending, fail, gateway_options, local_settings
from gatepost.manage.cli.output import _, printed_json, say
from gatepost.manage.cli.site import checked_host, opened
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.site.client import SiteConnection
from gatepost.pki.site.membership import Member, node_request, own_certificate
from gatepost.pki.site.records import JoinRefused, SiteRefusal, SiteUnreachable
from gatepost.pki.site.site import Site, read_token
from gatepost.policy.connectors.names import host_port
from gatepost.policy.connectors.units import parse_duration

if TYPE_CHECKING:
    from gatepost.pki.site.records import NodeGrant, SiteAuthority
    from gatepost.pki.site.store import SiteStore
    from gatepost.settings.model import Settings

_PAUSES: Final = (1.0, 3.0, 6.0, 10.0)  # seconds between two requests to a site that cannot answer now


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
    it signs at once, and each node with a store of its own must join again: it does not know the new root.

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
    if made.signs_from <= now and len(records.state().nodes) > 1:
        say("each node with a store of its own must join again: gatepost site token --for NODE", err=True)
    say(
        "site %(site)s: the new authority signs from %(signs_from)s on; nodes trust both "
        "while the previous one is needed. Give its root to everyone who trusts the old one: "
        "gatepost site root. SHA-256 of the new root:",
        err=True,
        site=made.site,
        signs_from=moment(made.signs_from),
    )
    return made


_PORT = 8444
_LONGEST = 7 * 86400.0


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            duration = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not 0 < duration <= _LONGEST:
            self.fail(_("%(value)s: a token is valid for 7 days at most", value=repr(value)), param, ctx)
        return duration


@click.command()
@click.option(
    "--for", "node", default="", metavar="HOST", help="Only this node may use the token. Needed for a known node."
)
@click.option("--valid", type=_Duration(), default="1h", show_default=True, help="Validity, such as 15m or 2h.")
@gateway_options
def token(node: str, valid: float) -> None:
    """Create a token with which one node can join this site, once. It is shown only now.

    With the token, the node recognizes the site by the root's thumbprint, and the site recognizes the node. Send it
    over a channel that nobody can read. Exit codes: 0 created, 1 the authority is not allowed to certify HOST, 2 usage
    error, or there is no authority here, 3 the data cannot be read.
    """
    settings = local_settings()
    name = checked_host("--for", node) if node else ""
    with opened(settings, keys=False) as records:
        made, text = Site(records).new_token(name, valid=valid, author=author(), now=time.time())
    if printed_json({"id": made.id, "node": made.node, "expires": made.expires, "token": text}):
        return
    who = name or _("a gateway that is not a node yet")
    address = settings.site.address or "HOST:8444"
    port = address.rpartition(":")[2]
    say(
        "token %(id)s for %(who)s, until %(expires)s; on that node: gatepost site join %(hostname)s:%(port)s --token -",
        err=True,
        id=made.id,
        who=who,
        expires=moment(made.expires),
        hostname=settings.server.hostname,
        port=port,
    )
    if not settings.site.address:
        say("no node can join yet: set [site] address, and restart serve", err=True)
    click.echo(text)


@click.command()
@click.argument("address", metavar="HOST[:PORT]")
@click.option(
    "--token",
    "text",
    default="-",
    metavar="TOKEN",
    help="Token from gatepost site token; - reads it from standard input.",
)
@click.option("--replace", is_flag=True, help="Join even if this gateway is a node with a valid certificate.")
@gateway_options
def join(address: str, text: str, *, replace: bool) -> None:
    """Make this gateway a node of the site that is served at HOST. The default port is 8444.

    The site must prove its identity with the root whose thumbprint is in the token, before the node sends anything. The
    key is created here, stays here, and is sealed with store.master_key. From then on, `gatepost serve` renews the
    node's certificate. Other users of this machine can see a token on the command line; --token - hides it.

    Exit codes: 0 joined, 1 the site refuses, 2 usage error, or the site is not that of the token, 3 not reachable.
    """
    settings = local_settings()
    with ending(BAD_INPUT, ValueError):
        host, port = host_port(address, _PORT)
    with opened(settings) as records:
        secret, root = read_token(sys.stdin.readline(1000) if text == "-" else text)
        site = _must_be_free(records, settings.server.hostname, replace=replace)
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        _join(records, settings, (place, site), (secret, root))


def _must_be_free(records: SiteStore, hostname: str, *, replace: bool) -> str:
    """The name of the site that it must be, "" for any: nodes that share a database are in one site."""
    if records.state().authorities:
        fail(
            BAD_INPUT,
            "this gateway keeps the authority of a site and is its first node, so it cannot join another site",
        )
    known = records.membership()
    if known is not None and known.not_after > time.time() and not replace:
        until = moment(known.not_after)
        fail(
            BAD_INPUT,
            "this gateway is a node of %(site)s, with a certificate until %(until)s; to join again: --replace",
            site=known.site,
            until=until,
        )
    own = records.kept_under()
    others = {name: member for name, member in records.memberships().items() if name != own}
    for name, member in others.items():
        if member.node == hostname:
            fail(
                BAD_INPUT,
                "server.hostname: %(name)s, which has the same database, is the node "
                "%(hostname)s already; give each node a host name of its own",
                name=name,
                hostname=hostname,
            )
    return next((member.site for member in others.values()), "")


def _join(records: SiteStore, settings: Settings, site: tuple[str, str], token_parts: tuple[str, str]) -> None:
    """site: its address, and its name if it must have one."""
    node, now = settings.server.hostname, time.time()
    (address, name), (secret, root) = site, token_parts
    request, key = node_request(node)
    records.sealed(key, "trial")  # before the token is used up
    connection = SiteConnection(address, now=now, site=name)
    connection.trust_thumbprint(root)
    try:
        grant = asyncio.run(_granted(connection, {"token": secret, "request": request.decode("ascii")}))
    except OSError as error:
        code = error.errno or 0
        why = os.strerror(code) if code > 0 else error.strerror or str(error)
        fail(
            UNKNOWN,
            "%(address)s: %(why)s; check that [site] address is set there, and that no firewall blocks it",
            address=address,
            why=why,
        )
    made = Member(records).take(grant, key, node, address, author=author(), now=now)
    if printed_json(made):
        return
    say(
        "%(node)s is a node of %(site)s, with a certificate until %(not_after)s",
        err=True,
        node=node,
        site=made.site,
        not_after=moment(made.not_after),
    )


async def _granted(connection: SiteConnection, body: dict[str, str]) -> NodeGrant:
    """The certificate of this key. A site that cannot answer now may have used the token up: it is asked again.

    So it is if it restarts then, and takes no connection for a moment. Raises what `SiteConnection.ask` does.
    """
    may_be_used = False
    for pause in _PAUSES:
        try:
            return await connection.ask("join", body)
        except SiteUnreachable:
            pass
        except OSError:
            if not may_be_used:
                raise
        except JoinRefused as refused:
            if refused.reason is not SiteRefusal.BUSY:
                raise
        may_be_used = True
        say("the site does not answer now: asking again in %(seconds)s s", err=True, seconds=f"{pause:g}")
        await asyncio.sleep(pause)
    return await connection.ask("join", body)


@click.command()
@gateway_options
def leave() -> None:
    """Leave the site: forget it, with this node's key and certificate.

    Then remove the node at the site: gatepost site nodes remove. Exit codes: 0 done, 2 this gateway belongs to no site,
    or keeps its authority, 3 the data cannot be read.
    """
    settings = local_settings()
    with opened(settings, keys=False) as records:
        known = records.membership()
        if known is None:
            fail(BAD_INPUT, "this gateway belongs to no site")
        if not known.address:
            fail(BAD_INPUT, "this gateway keeps the authority of %(site)s; its nodes still need it", site=known.site)
        Member(records).leave(author=author())
    if printed_json({"node": known.node, "site": known.site}):
        return
    say(
        "%(node)s has left %(site)s; there: gatepost site nodes remove %(node2)s",
        err=True,
        node=known.node,
        site=known.site,
        node2=known.node,
    )
