"""Convert Postfix's main.cf and its tables into resources, with a result for each parameter.

Called by `manage.cli.imports`, which has read the files that `postfix_config.named_files` asks for. Outbound connectors
come from `analysis.migration.postfix_routes`. Every parameter that is written in main.cf is carried over, known to say
nothing about what gatepost decides, or reported: none is left out silently.

Copies of mail become the journal: always_bcc that of the organization, BCC tables rules. Our own checks refuse an
address that mail would reach without verified TLS; the report says so.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

from gatepost.analysis.migration import postfix_config
from gatepost.analysis.migration.postfix_lost import IGNORED, IN_FRONT, LOST, READ
from gatepost.analysis.migration.postfix_recipients import add_recipients
from gatepost.analysis.migration.postfix_routes import outbound
from gatepost.analysis.migration.postfix_tls import global_policy, lowest_version
from gatepost.analysis.migration.report import Imported, ImportRefused, Part, assemble, slug, unique_name
from gatepost.policy.connectors.names import mail_address
from gatepost.policy.connectors.resources import PrefixLimits
from gatepost.policy.connectors.units import format_duration
from gatepost.texts import N_

_ALWAYS = "always_bcc"
_TABLES = {"sender_bcc_maps": "senders", "recipient_bcc_maps": "recipients"}
_MOST = 1000
_FORM = (
    "written as journal_form copy; unlike Postfix's, the copy never returns to the sender and leaves over verified TLS"
)


def add_journal(config: postfix_config.MainConfig, part: Part) -> None:
    """Write into the organization where a copy of all its mail goes."""
    address = config[_ALWAYS].strip() if _ALWAYS in config.written else ""
    if not address:
        return
    try:
        part.table |= {"journal_to": mail_address(address), "journal_form": "copy"}
    except ValueError as error:
        part.lost(_ALWAYS, f"{error}; write journal_to")
    else:
        part.differs(_ALWAYS, _FORM)


def journal_rules(config: postfix_config.MainConfig, files: Mapping[str, tuple[str | None, str]]) -> Iterator[Part]:
    """A mail flow rule for each entry of a BCC table."""
    taken: dict[str, int] = {}
    log = Part("", N_("copies"))
    for parameter, column in _TABLES.items():
        for reference in config.listed(parameter) if parameter in config.written else ():
            entries = postfix_config.table(reference, files, parameter)
            if isinstance(entries, str):
                log.lost(parameter, f"{entries}; write a mail flow rule with {column} and journal_to")
                continue
            if len(entries) > _MOST:
                log.lost(parameter, f"{reference} has more than {_MOST} entries; write mail flow rules for domains")
                continue
            for entry in entries:
                if "@" not in entry.key:
                    log.lost(parameter, f"{entry.where}: {entry.key!r} names no domain; write a mail flow rule")
                    continue
                name = unique_name(f"copy of {entry.key}", taken)
                rule = Part("mail_flow_rule", f"mail flow rule {name!r}")
                rule.table = {
                    "name": name,
                    column: [entry.key.removeprefix("@")],
                    "journal_to": entry.value,
                    "journal_form": "copy",
                }
                rule.differs(parameter, _FORM)
                yield rule
    if log.findings:
        yield log


type Files = Mapping[str, tuple[str | None, str]]
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SHOWN = 200
_BY_DEFAULT = "permit_mynetworks"
_MOST_NETWORKS = 4000


def convert(
    main: str,
    files: Files,
    *,
    master: str = "",
    directory: str = "/etc/postfix",
    organization: str = "",
    secrets: str = "",
) -> Imported:
    """Resources of one organization.

    main, master: the texts of main.cf and master.cf. files: path -> (text, or None and why it was not read), for each
    of `named_files`. directory: what $config_directory stands for. organization: its name; "" takes it from the
    domain. secrets: folder of the files that passwords will be in; "" leaves them out. Raises ImportRefused if main.cf
    cannot be read, or if the name is not a name.
    """
    config = postfix_config.with_directory(postfix_config.parse_main(main), directory)
    if not config.lines:
        raise ImportRefused("main.cf has no parameter in it; nothing was read")
    services = postfix_config.parse_master(master)
    domains = list(_domains(config, files))
    carried = add_recipients(config, files, domains, secrets)
    own = _own(config)
    add_journal(config, own)
    parts = [own, *domains, *_inbound(config, files)]
    parts.extend(outbound(config, {service.name: service for service in services}, files, secrets))
    parts.extend(journal_rules(config, files))
    if not any("*" in part.table.get("recipient_domains", ()) for part in parts):
        _cleartext(config, parts[0])
    parts.append(_others(config, services, carried))
    name = organization or _organization_name(config, parts)
    return assemble(name, parts)


def _own(config: postfix_config.MainConfig) -> Part:
    """Convert the parameters that become fields of the organization itself."""
    part = Part("organization", N_("organization"))
    text = config["maximal_queue_lifetime"]
    lifetime = postfix_config.seconds(text)
    if not lifetime:
        part.lost(
            "maximal_queue_lifetime", f"{text}: mail that is tried once only, or no time; write message_expiration"
        )
        return part
    part.table["message_expiration"] = format_duration(lifetime)
    if "maximal_queue_lifetime" not in config.written:
        part.differs("maximal_queue_lifetime", "it is not written, and Postfix's default is 5 days; ours would be 24 h")
    return part


def _cleartext(config: postfix_config.MainConfig, part: Part) -> None:
    """For mail that goes by no connector: Postfix sends unencrypted where a handshake fails."""
    policy = global_policy(config)
    part.table["cleartext"] = "after-failed-handshake"
    if policy is not None and policy.level == "none":
        part.differs(policy.where, "none means without TLS; here TLS is used wherever it is offered")


def _organization_name(config: postfix_config.MainConfig, parts: Sequence[Part]) -> str:
    domains = [str(part.table["name"]) for part in parts if part.kind == "accepted_domain"]
    for domain in (config["mydomain"], *domains):
        if "." in domain:
            return slug(domain.removeprefix("*.").partition(".")[0])
    return "imported"


def _domains(config: postfix_config.MainConfig, files: Files) -> Iterator[Part]:
    """Accepted domains: of each address class that takes mail in."""
    log = Part("", N_("domains"))
    deep = "relay_domains" in config.listed("parent_domain_matches_subdomains")
    seen: set[str] = set()
    classes = [("mydestination", "authoritative"), ("virtual_mailbox_domains", "authoritative")]
    classes += [("virtual_alias_domains", "authoritative"), ("relay_domains", "internal-relay")]
    authoritative = False
    for parameter, kind in classes:
        for name in _listed_domains(config, files, parameter, log):
            wide = kind == "internal-relay" and deep and not name.startswith("*")
            domain = f"*.{name}" if wide else name
            if name in seen:
                log.differs(parameter, f"{name}: another class of domains names it already, and the first counts")
                continue
            seen.add(name)
            authoritative = authoritative or kind == "authoritative"
            part = Part("accepted_domain", f"accepted domain {domain!r}", origin=parameter)
            part.table = {"name": domain, "type": kind}
            yield part
    if "myhostname" not in config.written and "myhostname" in config["mydestination"] + (
        config.raw("mydestination") or ""
    ):
        log.lost(
            "myhostname", "it is not in main.cf, so Postfix takes the machine's own name; add it as accepted domain"
        )
    if authoritative:
        log.differs(
            "recipients",
            "mailboxes are not read; until there are [[mailbox]] entries, mail for an authoritative domain is taken "
            "for every recipient and goes on by an outbound connector, or by MX",
        )
    yield log


def _listed_domains(config: postfix_config.MainConfig, files: Files, parameter: str, log: Part) -> list[str]:
    """The domains of a parameter, those in tables included."""
    result: list[str] = []
    if parameter == "virtual_alias_domains" and parameter not in config.written:
        for reference in config.listed("virtual_alias_maps"):
            entries = postfix_config.table(reference, files, "virtual_alias_maps")
            if not isinstance(entries, str):  # `_others` reports the aliases themselves
                result.extend(entry.key for entry in entries if "@" not in entry.key and "." in entry.key)
        return result
    for reference in config.listed(parameter):
        if reference.startswith("!"):
            log.lost(parameter, f"{reference}: exceptions are not written; see that no wider domain takes it in")
        elif ":" in reference or reference.startswith("/"):
            entries = postfix_config.table(reference, files, parameter)
            if isinstance(entries, str):
                log.lost(parameter, f"{entries}; name its domains by hand")
            else:
                result.extend(entry.key for entry in entries)
        else:
            result.append(reference.lower())
    return [
        f"*{text}" if text.startswith(".") else text
        for text in result
        if "@" not in text and text.partition(".")[0] != "localhost" and not text.startswith(("[", "localhost"))
    ]


def _inbound(config: postfix_config.MainConfig, files: Files) -> Iterator[Part]:
    """The organization's own servers, and what is demanded of everybody else."""
    restrictions = ("smtpd_relay_restrictions", "smtpd_recipient_restrictions")
    relay = " ".join(config[name] for name in restrictions) if {*restrictions} & config.written.keys() else _BY_DEFAULT
    level = config["smtpd_tls_security_level"].strip().lower()
    encrypted = level == "encrypt" or (not level and config.flag("smtpd_enforce_tls"))
    if "permit_mynetworks" in relay:
        yield _own_servers(config, files, require_tls=encrypted)
    if encrypted:
        part = Part("inbound_connector", "inbound connector 'everybody'")
        part.table = {"name": "everybody", "connector_type": "partner", "sender_domains": ["*"], "require_tls": True}
        parameter = "smtpd_tls_mandatory_protocols"
        lowest = lowest_version(config[parameter])
        if lowest and parameter in config.written and lowest >= "TLSv1.2":
            part.table["min_tls_version"] = lowest
        yield part


def _own_servers(config: postfix_config.MainConfig, files: Files, *, require_tls: bool) -> Part:
    part = Part("inbound_connector", "inbound connector 'mynetworks'")
    part.table = {"name": "mynetworks", "connector_type": "on-premises", "require_tls": require_tls}
    if "mynetworks" not in config.written:
        part.refuse(
            "mynetworks is not in main.cf, so Postfix takes the machine's own networks; name the servers that may relay"
        )
        return part
    networks, excluded = _networks(config, files, part)
    kept: dict[str, None] = {}
    for network in networks:
        text = _narrow(network, part)
        if text and any(exclusion.version == network.version and exclusion.overlaps(network) for exclusion in excluded):
            part.lost("mynetworks", f"{network}: an exception (!) lies within it; name the servers that may relay")
        elif text:
            kept[text] = None
    if not kept:
        part.refuse("mynetworks names nothing that is narrow enough; name the servers that may relay one by one")
    part.table["sender_ip_addresses"] = list(kept)[:_MOST_NETWORKS]
    if len(kept) > _MOST_NETWORKS:
        part.lost("mynetworks", f"more than {_MOST_NETWORKS} networks; the rest is left out")
    part.differs(
        "mynetworks",
        "Postfix lets them relay for every sender; here an address alone is good only for senders in an accepted "
        "domain, not for the null reverse-path. For more, give them a certificate (tls_sender_certificate_name), or "
        'write senders_by_address = "accepted-domains-and-null" for notices of groupware, "any" for forwarded mail',
    )
    return part


def _networks(config: postfix_config.MainConfig, files: Files, part: Part) -> tuple[list[Network], list[Network]]:
    """The networks that mynetworks names, and those that it excludes."""
    networks: list[Network] = []
    excluded: list[Network] = []
    for reference in config.listed("mynetworks"):
        texts = [reference.removeprefix("!")]
        if postfix_config.source_file(reference) or re.match(r"!?(proxy:)?[a-z]{3,}[a-z0-9_]*:", reference):
            entries = postfix_config.table(reference, files, "mynetworks")
            if isinstance(entries, str):
                part.lost("mynetworks", f"{entries}; name its networks by hand")
                continue
            texts = [entry.key for entry in entries]
        for text in texts:
            outside = reference.startswith("!") != text.startswith("!")
            try:
                network = ipaddress.ip_network(re.sub(r"[\[\]!]", "", text), strict=False)
            except ValueError:
                part.lost(
                    "mynetworks", f"{text[:_SHOWN]} is not an address or network; names of hosts are not looked up"
                )
                continue
            (excluded if outside else networks).append(network)
    return networks, excluded


def _narrow(network: Network, part: Part) -> str:
    """A network as a connector takes it; "" if it is too wide. Of the machine's own addresses, the one that is used."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if network.is_loopback or (mapped is not None and mapped.is_loopback):
        return "127.0.0.1" if network.version == 4 or mapped is not None else "::1"
    limits = PrefixLimits()
    shortest = limits.ipv4 if network.version == 4 else limits.ipv6
    if network.is_link_local:
        part.lost("mynetworks", f"{network}: link-local addresses say nothing about who they are")
    elif network.prefixlen < shortest:
        part.lost(
            "mynetworks", f"{network} is wider than /{shortest} and would trust strangers; name the servers that relay"
        )
    else:
        return str(network)
    return ""


def _others(
    config: postfix_config.MainConfig, services: Sequence[postfix_config.Service], carried: frozenset[str]
) -> Part:
    """Every parameter that is written and was not read: known to mean nothing here, or reported.

    carried: those that became a part of something although others of their kind do not.
    """
    part = Part("", N_("parameters"))
    for name, line in config.repeated:
        part.lost(f"{name} (line {line})", f"is written again in line {config.lines[name]}, which counts")
    quiet = [name for name in config.lines if name not in READ | carried and not _tells(config, name, part)]
    if quiet:
        part.differs("others", f"{', '.join(quiet)}: how Postfix itself works, or nothing at all; not needed here")
    for service in services:
        front = {name: lost.why for name in service.options for lost in IN_FRONT if lost.names.fullmatch(name)}
        for name, why in front.items():
            if service.options[name].strip():
                part.lost(f"master.cf: {service.name}", f"{name}={service.options[name][:_SHOWN]}: {why}")
        written = [
            f"{name}={value}"
            for name, value in service.options.items()
            if name not in front and not IGNORED.fullmatch(name)
        ]
        if written and service.command in {"smtp", "smtpd"}:
            part.lost(
                f"master.cf: {service.name}",
                f"{', '.join(written)[:_SHOWN]}: holds for this service alone, and is not read",
            )
    for text in ("permit_tls_clientcerts", "permit_tls_all_clientcerts"):
        if any(text in config[name].replace(",", " ").split() for name in config.lines if "restrictions" in name):
            part.lost(text, _CLIENT_CERTIFICATES)
    return part


def _tells(config: postfix_config.MainConfig, name: str, part: Part) -> bool:
    """Report a parameter that is not carried over; False if it asks for nothing that gatepost decides."""
    value = config[name].strip()
    if IGNORED.fullmatch(name) or not value:
        return False
    known = next((candidate for candidate in LOST if candidate.names.fullmatch(name)), None)
    if known is not None and value.lower() in known.harmless:
        return False
    why = "is not known to this import; look up what it does, and whether it is still needed"
    if known is not None:
        why = known.why.format(value=value[:_SHOWN])
    secret = "password" in name or "passwd" in name or name.endswith("_pw")
    part.lost(f"{name} (line {config.lines[name]})", why if secret else f"{value[:_SHOWN]}: {why}")
    return True


_CLIENT_CERTIFICATES = (
    "servers are not known by fingerprint, nor is any certificate of an authority enough; write an on-premises inbound "
    "connector with tls_sender_certificate_name, the name in the servers' certificate"
)
