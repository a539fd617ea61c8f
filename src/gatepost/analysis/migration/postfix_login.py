"""Convert how Postfix's client calls next hops: smtp_sasl_*, smtp_tls_wrappermode, smtp_bind_address, smtp_helo_name.

Called by `analysis.migration.postfix_routes` for each outbound connector, once it is known what is demanded of TLS. A
password is never written into a resource: it becomes a file of its own, if the import has a folder for them, or has to
be entered. Where Postfix would send it to a host that does not prove its name, gatepost does not.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, Final

from gatepost.analysis.migration.postfix_config import Entry, MainConfig, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.analysis.migration.report import Part


type Files = Mapping[str, tuple[str | None, str]]

_MAPS: Final = "smtp_sasl_password_maps"
_MECHANISMS: Final = {
    "scram-sha-256": "scram-sha-256",
    "scram-sha-256-plus": "scram-sha-256",
    "plain": "plain",
    "login": "login",
}
_CALLS: Final = ("smtp_bind_address", "smtp_bind_address6", "smtp_helo_name")
_OPPORTUNISTIC: Final = "opportunistic"


def read_logins(config: MainConfig, files: Files, log: Part) -> dict[str, Entry]:
    """The entries of smtp_sasl_password_maps by key, "*" for one that counts for every host. No value is ever told."""
    found: dict[str, Entry] = {}
    for reference in config.listed(_MAPS) if config.flag("smtp_sasl_auth_enable") else ():
        if reference.startswith("static:"):
            found.setdefault("*", Entry("*", reference.removeprefix("static:").strip("{} "), _MAPS))
            continue
        entries = table(reference, files, _MAPS)
        if isinstance(entries, str):
            log.lost(_MAPS, f"{entries}; write authentication into the connectors by hand")
            continue
        for entry in entries:
            found.setdefault(entry.key, entry)
    return found


def calls_specially(config: MainConfig) -> bool:
    """Whether even mail by MX needs a connector, since it is sent from a named address or under another name."""
    return any(name in config.written and config[name].strip() for name in _CALLS)


def write_calls(part: Part, config: MainConfig) -> None:
    """Source addresses, the name in EHLO, and the address family."""
    for parameter, version, field in (
        ("smtp_bind_address", 4, "source_ipv4_address"),
        ("smtp_bind_address6", 6, "source_ipv6_address"),
    ):
        text = config[parameter].strip().strip("[]")
        if not text:
            continue
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            part.lost(parameter, f"{text[:100]} is not an address")
            continue
        if address.version == version and not address.is_unspecified:
            part.table[field] = str(address)
    named = {"source_ipv4_address", "source_ipv6_address"} & part.table.keys()
    if len(named) == 1:
        parameter = "smtp_bind_address" if "source_ipv4_address" in named else "smtp_bind_address6"
        part.differs(
            parameter, "next hops are called over its address family only; name an address of the other one too"
        )
    name = config["smtp_helo_name"].strip() if "smtp_helo_name" in config.written else ""
    if name and name != config["myhostname"]:
        part.table["hello_name"] = name
    protocols = config["inet_protocols"].strip().lower() if "inet_protocols" in config.written else ""
    if protocols in {"ipv4", "ipv6"}:
        part.table["address_family"] = protocols


def write_implicit_tls(part: Part, config: MainConfig) -> None:
    """smtp_tls_wrappermode: TLS from the first octet."""
    if not config.flag("smtp_tls_wrappermode"):
        return
    if "smart_hosts" not in part.table:
        part.lost("smtp_tls_wrappermode", "MX hosts begin without TLS; only a connector with smart_hosts can do this")
        return
    part.table["implicit_tls"] = True
    if part.table.get("tls_settings", _OPPORTUNISTIC) == _OPPORTUNISTIC:
        part.table["tls_settings"] = "encryption-only"
        part.table.pop("cleartext", None)


def write_login(part: Part, config: MainConfig, keys: Sequence[str], entries: Mapping[str, Entry]) -> str:
    """The log-in to the smart hosts of a connector; the password of it, "" for none.

    keys: by which Postfix looks in its table, in this order. entries: as `read_logins` has them.
    """
    entry = next((entries[key] for key in (*keys, "*") if key in entries), None)
    if entry is None or not entry.value:
        return ""
    username, _, password = entry.value.partition(":")
    if "smart_hosts" not in part.table:
        part.lost(entry.where, f"the log-in as {username}: the gateway logs in to smart_hosts only, never to MX hosts")
        return ""
    part.table["authentication"] = {"username": username} | _mechanism(part, config)
    _prove(part, entry.where)
    return password


def _mechanism(part: Part, config: MainConfig) -> dict[str, Any]:
    """The mechanism, where Postfix is told which it may use; {} for the best that is offered."""
    wanted = [name.lower() for name in re.split(r"[\s,]+", config["smtp_sasl_mechanism_filter"].strip()) if name]
    known = list(dict.fromkeys(_MECHANISMS[name] for name in wanted if name in _MECHANISMS))
    if wanted and not known:
        said = f"{', '.join(wanted)}: the gateway has SCRAM-SHA-256, PLAIN and LOGIN; tokens it fetches from token_url"
        part.lost("smtp_sasl_mechanism_filter", said)
    if len(known) == 1:
        return {"mechanism": known[0]}
    options = config["smtp_sasl_tls_security_options"]
    if "noplaintext" in re.split(r"[\s,]+", options.lower()):
        return {"mechanism": "scram-sha-256"}
    return {}


def _prove(part: Part, where: str) -> None:
    """The host that is given the secret has to prove its name, whatever Postfix asks of it."""
    level = part.table.get("tls_settings", _OPPORTUNISTIC)
    if level == "domain-validation":
        return
    part.table["tls_settings"] = "domain-validation"
    part.table.pop("cleartext", None)
    part.fallbacks.pop("tls_settings", None)
    part.differs(
        where,
        f'tls_settings = "domain-validation" instead of "{level}": the gateway sends a password only to a host that '
        "proves its name. If its certificate is of a private authority, write trust_anchors; if it bears another name, "
        "tls_domain",
    )
