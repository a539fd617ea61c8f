"""Convert Postfix's transport_maps, relayhost and TLS policies into outbound connectors.

Called by `analysis.migration.postfix`. Postfix looks for a TLS policy by the next hop, gatepost by the recipient
domain: so first it is said for each domain where its mail goes, and then which policy stands on that way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from gatepost.analysis.migration import postfix_login
from gatepost.analysis.migration.postfix_config import Entry, MainConfig, Service, table
from gatepost.analysis.migration.postfix_tls import Policy, demand, global_policy, parse_policy
from gatepost.analysis.migration.report import Finding, Part, slug, unique_name
from gatepost.texts import N_, last_argument

type Files = Mapping[str, tuple[str | None, str]]

_SERVICES = {"smtp": 25, "25": 25, "submission": 587, "smtps": 465, "submissions": 465}
_NO_CONNECTOR = {
    "error": "mail is returned; leave the domain out of the accepted domains instead",
    "retry": "mail is deferred; hold the queue instead (gatepost queue hold)",
    "discard": "mail is discarded, which gatepost does not do",
    "lmtp": 'write its mailboxes with delivery = "lmtp:HOST:PORT"',
    "local": "write its mailboxes",
    "virtual": "write its mailboxes",
}


@dataclass(frozen=True, slots=True)
class _Hop:
    """One next hop. text: as a policy names it. by_mx: without brackets, so that its MX is looked up."""

    text: str
    host: str
    port: int
    by_mx: bool


@dataclass(frozen=True, slots=True)
class _RoutePlan:
    """The route of mail for a pattern: "b.example", "*.b.example", "*" or an address. nexthop: "" for its MX."""

    pattern: str
    nexthop: str
    where: str

    @property
    def setting(self) -> str:
        """The parameter that says so: without the line, so that many domains with one next hop share a connector."""
        return self.where if self.where == "relayhost" else "transport_maps"


@dataclass(slots=True)
class _Routing:
    """The facts gathered while the tables are read."""

    config: MainConfig
    services: Mapping[str, Service]
    log: Part
    secrets: str = ""
    logins: dict[str, Entry] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)  # keys of the policies that stand on some way
    ways: list[_RoutePlan] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # connectors whose password is in a file
    unchanged: dict[str, str] = field(default_factory=dict)  # patterns whose entry says nothing, and where


def outbound(config: MainConfig, services: Mapping[str, Service], files: Files, secrets: str = "") -> list[Part]:
    """Outbound connectors and mail flow rules; what becomes neither is in a part of its own, without a kind.

    secrets: folder of the files that passwords will be in, "" for none.
    """
    routing = _Routing(config, services, Part("", N_("routing")), secrets)
    _read_policies(routing, files)
    routing.logins.update(postfix_login.read_logins(config, files, routing.log))
    _read_transports(routing, files)
    _rest_of_the_world(routing)
    parts = _connectors(routing)
    _unused(routing)
    return [*parts, routing.log]


def _entries(routing: _Routing, parameter: str, files: Files) -> list[Entry]:
    """All entries of a parameter's tables; of equal keys the first counts."""
    found: dict[str, Entry] = {}
    for reference in routing.config.listed(parameter):
        entries = table(reference, files, parameter)
        if isinstance(entries, str):
            routing.log.lost(parameter, f"{entries}; write its entries by hand")
            continue
        for entry in entries:
            first = found.setdefault(entry.key, entry)
            if first is not entry:
                routing.log.lost(
                    entry.where, f"{entry.key} {entry.value}: is written before, at {first.where}, and the first counts"
                )
    return list(found.values())


def _read_policies(routing: _Routing, files: Files) -> None:
    for entry in _entries(routing, "smtp_tls_policy_maps", files):
        policy = parse_policy(entry.value, entry.where)
        if policy is None:
            routing.log.lost(entry.where, f"{entry.key}: {entry.value!r} begins with no TLS level; correct it")
        else:
            routing.policies[entry.key] = policy


def _read_transports(routing: _Routing, files: Files) -> None:
    deep = "transport_maps" in routing.config.listed("parent_domain_matches_subdomains")
    for entry in _entries(routing, "transport_maps", files):
        pattern = _pattern(entry.key, deep=deep)
        transport, _, nexthop = entry.value.partition(":")
        if not entry.value or entry.value == ":":
            routing.unchanged[pattern] = entry.where
        elif not transport or _is_smtp(routing, transport):
            routing.ways.append(_RoutePlan(pattern, nexthop.strip().lower(), entry.where))
        else:
            why = _NO_CONNECTOR.get(
                transport, f"the transport {transport!r} of master.cf is not one that only sends by SMTP"
            )
            routing.log.lost(entry.where, f"{entry.key} {entry.value}: {why}")


def _pattern(key: str, *, deep: bool) -> str:
    if key == "*" or "@" in key:
        return key
    if key.startswith("."):
        return f"*{key}"
    return f"*.{key}" if deep else key


def _is_smtp(routing: _Routing, transport: str) -> bool:
    """Whether a transport is Postfix's SMTP client as main.cf configures it."""
    service = routing.services.get(transport)
    if service is None:
        return transport in {"smtp", "relay"}
    return service.command == "smtp" and not any(name.startswith("smtp_tls_") for name in service.options)


def _rest_of_the_world(routing: _Routing) -> None:
    """The ways that no transport table names: relayhost for all others, or policies for the MX of a domain."""
    relayhost = routing.config["relayhost"].strip().lower()
    for pattern, where in routing.unchanged.items():
        # As if there were no table (transport(5)): where a wider entry covers it, that would take its mail otherwise.
        if any(_covers(way.pattern, pattern) for way in routing.ways):
            routing.ways.append(_RoutePlan(pattern, relayhost, where))
        else:
            routing.log.differs(
                where, f"{pattern}: says nothing, and no wider entry takes its mail; nothing is written"
            )
    named = {way.pattern for way in routing.ways}
    if relayhost and "*" not in named:
        routing.ways.append(_RoutePlan("*", relayhost, "relayhost"))
        return
    if "*" in named:
        return
    for key, policy in routing.policies.items():
        pattern = _pattern(key, deep=False)
        if not key.startswith("[") and ":" not in key and pattern not in named:
            routing.ways.append(_RoutePlan(pattern, "", policy.where))
    overall = global_policy(routing.config)
    special = _certificate(routing.config) is not None or postfix_login.calls_specially(routing.config)
    if overall is None or overall.level not in {"none", "may", "dane"} or special:
        routing.ways.append(_RoutePlan("*", "", "smtp_tls_security_level"))


def _covers(wide: str, pattern: str) -> bool:
    """Whether mail for a pattern would go the way of a wider one."""
    return wide == "*" or (wide.startswith("*.") and f".{pattern.rpartition('@')[2]}".endswith(wide[1:]))


def _connectors(routing: _Routing) -> list[Part]:
    """One connector for all patterns with the same way and demand; rules for single addresses."""
    made: dict[str, Part] = {}
    rules: list[Part] = []
    taken: dict[str, int] = {}
    domains: dict[str, dict[str, None]] = {}  # of each connector, in order and once
    for way in routing.ways:
        part = _connector(routing, way)
        address = "@" in way.pattern
        scope: dict[str, Any] = {"is_transport_rule_scoped": True} if address else {"recipient_domains": []}
        key = repr(
            (address, part.table, [(finding.setting, finding.detail) for finding in part.findings], part.refused)
        )
        if key not in made:
            made[key] = part
            name = unique_name(_called(part, way), taken)
            part.label = f"outbound connector {name!r}"
            part.table = {"name": name, "connector_type": "partner", **scope, **part.table}
            part.findings = [_relabelled(part.label, finding) for finding in part.findings]
            _keep_secret(routing, part, name)
        if address:
            rules.append(_rule(way.pattern, str(made[key].table["name"]), taken))
        else:
            domains.setdefault(key, {})[way.pattern] = None
    for key, patterns in domains.items():
        made[key].table["recipient_domains"] = list(patterns)
        _subdomains(made[key], patterns)
    return [*made.values(), *rules]


def _keep_secret(routing: _Routing, part: Part, name: str) -> None:
    """Have the password of a connector in a file of its own, or say that it has to be entered."""
    if not part.secret:
        return
    if routing.secrets:
        routing.kept.append(name)
        path = PurePosixPath(routing.secrets) / f"{slug(name, 'connector')}-{len(routing.kept)}.secret"
        part.table["authentication"]["secret_file"] = str(path)
        return
    part.secret = ""
    part.lost(
        "smtp_sasl_password_maps",
        f"the password of {part.table['authentication']['username']} is not printed; enter it once the resources are "
        f"applied: gatepost connector secret {last_argument(name)}; or import with --secrets DIR",
    )


def _relabelled(label: str, finding: Finding) -> Finding:
    return Finding(label, finding.outcome, finding.setting, finding.detail)


def _called(part: Part, way: _RoutePlan) -> str:
    hosts = part.table.get("smart_hosts")
    if way.where == "relayhost":
        return "relayhost"
    return f"to {hosts[0]}" if hosts else f"to {way.pattern}" if way.pattern != "*" else "to all others"


def _rule(address: str, connector: str, taken: dict[str, int]) -> Part:
    name = unique_name(f"mail for {address}", taken)
    part = Part("mail_flow_rule", f"mail flow rule {name!r}")
    part.table = {"name": name, "recipients": [address], "route_via_connector": connector}
    return part


def _subdomains(part: Part, patterns: Collection[str]) -> None:
    """Postfix's ".domain" leaves the domain itself out, "*.domain" here does not."""
    alone = [pattern for pattern in patterns if pattern.startswith("*.") and pattern[2:] not in patterns]
    if alone:
        part.differs(
            "recipient_domains",
            f"{', '.join(alone[:5])}: takes in the domain itself as well, unless another connector names it",
        )


def _connector(routing: _Routing, way: _RoutePlan) -> Part:
    part = Part("outbound_connector", "")
    hops = [_hop(text) for text in re.split(r"[\s,]+", way.nexthop) if text]
    if None in hops:
        part.refuse(f"{way.setting}: {way.nexthop!r} has a port or host that cannot be read")
    known = [hop for hop in hops if hop is not None]
    own_mx = len(known) == 1 and known[0].by_mx and known[0].host == way.pattern and known[0].port == 25
    if known and not own_mx:
        part.table["smart_hosts"] = [_smart_host(hop) for hop in known]
        if any(hop.by_mx for hop in known):
            part.differs(
                way.setting,
                f"{way.nexthop}: without brackets Postfix goes to the MX of this name, here to its addresses; name the "
                "MX hosts as smart_hosts if they are others",
            )
    hops_or_mx: list[_Hop | None] = [*known] or [None]
    policies = [_policy(routing, way, hop) for hop in hops_or_mx]
    if any(policy != policies[0] for policy in policies):
        part.refuse(f"{way.setting}: the next hops {way.nexthop} have different TLS policies, and a connector has one")
    _demand(routing, part, policies[0], way, known)
    _client_certificate(routing.config, part)
    postfix_login.write_calls(part, routing.config)
    postfix_login.write_implicit_tls(part, routing.config)
    keys = [key for hop in known for key in (hop.text, hop.host)]
    part.secret = postfix_login.write_login(part, routing.config, keys, routing.logins)
    return part


def _demand(routing: _Routing, part: Part, policy: Policy | None, way: _RoutePlan, hops: Sequence[_Hop]) -> None:
    if policy is None:
        part.refuse("smtp_tls_security_level: its level is not known; correct it")
        return
    names = {hop.host for hop in hops}
    domain = way.pattern.rpartition("@")[2]
    nexthop = names.pop() if len(names) == 1 else "" if hops or domain.startswith("*") else domain
    demand(part, policy, routing.config, nexthop, by_mx=not hops or any(hop.by_mx for hop in hops))


def _hop(text: str) -> _Hop | None:
    """Read "[host]:port", "host:port", "[address]" or "host"; None if it is none of them."""
    match = re.fullmatch(r"\[(?:ipv6:)?([^\]]+)\](?::(\w+))?|([^\[\]:]+)(?::(\w+))?", text)
    if match is None:
        return None
    host, port = match[1] or match[3], match[2] or match[4] or "25"
    number = _SERVICES.get(port, int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0)
    return _Hop(text, host, number, by_mx=match[1] is None) if number else None


def _smart_host(hop: _Hop) -> str:
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    return host if hop.port == 25 else f"{host}:{hop.port}"


def _policy(routing: _Routing, way: _RoutePlan, hop: _Hop | None) -> Policy | None:
    """The policy on a way, as Postfix finds it: by the next hop as it is written, then by the domains above it."""
    key = hop.text if hop else way.pattern.rpartition("@")[2].removeprefix("*")
    while key:
        policy = routing.policies.get(key)
        if policy is not None:
            routing.used.add(key)
            return policy
        if hop is not None and (not hop.by_mx or ":" in hop.text):
            break
        above = key.removeprefix(".").partition(".")[2]
        key = f".{above}" if above else ""
    return global_policy(routing.config)


def _certificate(config: MainConfig) -> tuple[str, str] | None:
    """(chain, key) files of the SMTP client; the newest kind of parameter counts."""
    return next(iter(_certificates(config)), None)


def _certificates(config: MainConfig) -> list[tuple[str, str]]:
    """All of them, the one that is shown first."""
    if chain_files := config.listed("smtp_tls_chain_files"):
        return list(_chains(chain_files))
    pairs = (("smtp_tls_eccert_file", "smtp_tls_eckey_file"), ("smtp_tls_cert_file", "smtp_tls_key_file"))
    return [(config[chain], config[key] or config[chain]) for chain, key in pairs if config[chain]]


def _chains(files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(chain, key): a key has its chain behind it, in its own file or in the next (postconf(5))."""
    left = list(files)
    while left:
        file = left.pop(0)
        alone = "key" in PurePosixPath(file).name.lower()
        chain = left.pop(0) if alone and left and "key" not in PurePosixPath(left[0]).name.lower() else file
        yield chain, file


def _client_certificate(config: MainConfig, part: Part) -> None:
    pair = _certificate(config)
    if pair is None:
        return
    chain, key = pair
    others = [other for other, _ in _certificates(config)[1:]]
    if others:
        part.lost("client_certificate", f"a connector shows one, {chain}; {', '.join(others)} is not shown")
    part.table["client_certificate"] = {"chain": chain, "key": key}
    if chain == key:
        part.differs(
            "client_certificate", f"{chain} holds key and certificate; gatepost wants mode 0600 and the leaf first"
        )


def _unused(routing: _Routing) -> None:
    """Policies that Postfix never looks up, which is mostly a mistake: the mail goes another way, with another key."""
    for key, policy in routing.policies.items():
        if key not in routing.used:
            routing.log.lost(
                policy.where,
                f"{key} {policy.level}: no mail goes to a next hop of this name, so Postfix never looks at the policy; "
                "if it was meant for the domain, make a connector for it",
            )
