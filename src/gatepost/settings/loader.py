"""Find, read and check the settings of a server: a TOML or JSON file, and the environment over it.

Called by `cli` at the start of every command and by `node` on SIGHUP. Every problem is collected before SettingsError
is raised, each with its file and line or its variable. Whether files named in it exist and ports can be bound is
checked by those who use them.

The line of a key is found by the headings and keys at the beginning of lines, as the parser of the standard library
keeps none; a key inside an inline table or a multi-line value is found at the line where that begins.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatepost.policy.connectors.names import SmartHost, host_port
from gatepost.policy.connectors.toml_errors import toml_problem
from gatepost.protocols.tls.token_uri import is_token_uri
from gatepost.settings.acme import Acme, Challenge
from gatepost.settings.environment import CONFIG_VARIABLE, Overrides, overrides
from gatepost.settings.model import DnsValidation, Server, Settings
from gatepost.settings.problem import SettingsError, SettingsProblem
from gatepost.settings.roles import ListenerRole
from gatepost.settings.section import read
from gatepost.settings.sections import GroupRole
from gatepost.settings.store_url import SQLITE, role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gatepost.policy.connectors.errors import Draft, FieldError


_LARGEST = 4 << 20  # bytes: thousands of listeners, and not a device by mistake
_TABLES = re.compile(r"\s*\[\[\s*([\w.-]+)\s*\]\]")
_TABLE = re.compile(r"\s*\[\s*([\w.-]+)\s*\]")
_KEY = re.compile(r"\s*([\w.-]+)\s*=")
_LAST_STEP = re.compile(r"(?:\.[^.\[]+|\[\d+\])$")


def lines(text: str) -> dict[str, int]:
    """The line, from 1, of each path that is written: "limits", "limits.recipients", "listener[0].role"."""
    result: dict[str, int] = {}
    heading = ""
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if tables := _TABLES.match(line):
            name = tables[1]
            heading = f"{name}[{counts.get(name, 0)}]"
            counts[name] = counts.get(name, 0) + 1
            result[heading] = number
        elif table := _TABLE.match(line):
            heading = table[1]
            result.setdefault(heading, number)
        elif key := _KEY.match(line):
            result.setdefault(f"{heading}.{key[1]}" if heading else key[1], number)
    return result


def line_of(path: str, lines: dict[str, int]) -> int | None:
    """The line of a path (of a list of tables: of the first), or of the nearest table around it that is written."""
    if f"{path}[0]" in lines:
        return lines[f"{path}[0]"]
    while path:
        if path in lines:
            return lines[path]
        shorter = _LAST_STEP.sub("", path)
        path = "" if shorter == path else shorter
    return None


DEFAULT_PATHS = (Path("/etc/gatepost/gatepost.toml"), Path("gatepost.toml"))
"""The settings files that are tried when neither `--config` nor GATEPOST_CONFIG names one."""


def load(path: str | None, environment: Mapping[str, str]) -> Settings:
    """The settings from the first of: `path`, GATEPOST_CONFIG, the default paths; GATEPOST_SECTION__KEY goes over them.

    A file named explicitly must be there. Without any file the environment alone may do. A relative path in a file
    starts at the file's directory. Raises SettingsError.
    """
    return load_with_origins(path, environment)[0]


def load_with_origins(path: str | None, environment: Mapping[str, str]) -> tuple[Settings, Callable[[str], str]]:
    """The settings as `load` finds them, and a function from the path of a key to where its value comes from.

    It returns "FILE:LINE", "FILE" (JSON) or the name of a variable. Raises SettingsError.
    """
    source = _find(path, environment)
    text = _text(source) if source else ""
    document = _relative_to(source.parent, _document(source, text)) if source else {}
    over = overrides(environment)
    errors: list[FieldError] = []
    draft = read(Settings, over.over(document), errors, {"server": Server(hostname="unnamed.invalid")})
    errors.extend(_across(draft))
    known = lines(text) if source and source.suffix != ".json" else {}
    problems = over.problems + [_problem(error, source, known, over) for error in errors]
    if problems and source is None:
        looked = ", ".join(map(str, DEFAULT_PATHS))
        said = (
            f"no settings file: looked for {looked}; name one with --config or {CONFIG_VARIABLE}, or make one: "
            "gatepost quickstart"
        )
        nothing = not over.over({})  # then what it would have to contain is no help
        problems = [SettingsProblem("", said), *([] if nothing else problems)]
    if problems:
        raise SettingsError(problems)
    return draft.value, lambda key: _origin(key, source, known, over)[0]


def _find(path: str | None, environment: Mapping[str, str]) -> Path | None:
    named = path or environment.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    return next((default_path for default_path in DEFAULT_PATHS if default_path.exists()), None)


def _text(source: Path) -> str:
    try:
        with source.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise _unusable(source, f"larger than {_LARGEST} bytes; name the file with the settings")
        return content.decode()
    except UnicodeDecodeError as error:
        raise _unusable(source, f"not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        said = f"cannot be read: {error.strerror}; check the path and its permissions"
        raise _unusable(source, said) from None


def _document(source: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text) if source.suffix == ".json" else tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise _unusable(f"{source}:{error.lineno}", f"not JSON, at column {error.colno}: {error.msg}") from None
    except tomllib.TOMLDecodeError as error:
        line, said = toml_problem(error, text)
        raise _unusable(f"{source}:{line}", said) from None
    except RecursionError:
        raise _unusable(source, "lists and tables are nested too deeply; name the file with the settings") from None
    except ValueError:  # of a number that Python does not convert
        raise _unusable(source, "a number has thousands of digits; name the file with the settings") from None
    if not isinstance(document, dict):
        raise _unusable(source, "not settings: sections with keys are needed")
    return document


def _unusable(place: Path | str, message: str) -> SettingsError:
    return SettingsError([SettingsProblem(str(place), message)])


def _relative_to(directory: Path, document: dict[str, Any]) -> dict[str, Any]:
    """The document with relative paths made absolute, so that they do not depend on where a command is run."""

    def resolved(table: Any, names: tuple[str, ...]) -> Any:
        if not isinstance(table, dict):
            return table
        return {
            key: str(directory.absolute() / value) if key in names and _is_path(value) else value
            for key, value in table.items()
        }

    whole = dict(document)
    for section, names in (
        ("server", ("data_dir",)),
        ("tls", ("trust_anchors",)),
        ("dns", ("trust_anchor_file",)),
        ("acme", ("trust_anchors",)),
        ("admin", ("chain", "key")),
        ("oidc", ("trust_anchors",)),
    ):
        if section in whole:
            whole[section] = resolved(whole[section], names)
    if isinstance(certificates := whole.get("certificate"), list):
        whole["certificate"] = [resolved(certificate, ("chain", "key")) for certificate in certificates]
    return whole


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value not in {"", "system"} and not is_token_uri(value)


def _across(draft: Draft[Settings]) -> Iterator[FieldError]:
    """Yield errors across sections that are right by themselves."""
    settings = draft.value
    addresses = [
        *((f"listener[{place}].address", listener.address) for place, listener in enumerate(settings.listeners)),
        *([("admin.address", settings.admin.address)] if settings.admin.address else []),
        ("metrics.address", settings.metrics.address),
        *settings.public_addresses.items(),  # one server for all, so each of them once
        *([("acme.http_address", settings.acme.served_at)] if settings.acme.served_at else []),
        *([("site.address", settings.site.address)] if settings.site.address else []),
    ]
    counts = Counter(address for _, address in addresses)
    for path, address in addresses:
        if counts[address] > 1 and not address.endswith(":0"):
            yield draft.error(path, f"{address} is used more than once; give each its own port")
    yield from _roles(draft)
    yield from _trusted(draft)
    yield from _acme(draft)
    yield from _site(draft)
    if settings.alarms.webhook and not settings.alarms.webhook_secret:
        said = "posts must be signed, to prove that they are ours; write file:/PATH, env:NAME or credential:NAME"
        yield draft.error("alarms.webhook_secret", said)
    if settings.otel.endpoint and settings.otel.secret and not settings.otel.is_private:
        yield draft.error("otel.secret", "the secret would cross the network unencrypted; write an https endpoint")
    if bool(settings.admin.chain) != bool(settings.admin.key):
        path = "admin.key" if settings.admin.chain else "admin.chain"
        yield draft.error(path, "chain and key belong together: write both, or neither")
    yield from _oidc(draft)
    yield from _internal(draft)
    yield from _reports(draft)
    yield from _store(draft)
    elsewhere = settings.acme.is_on or bool(settings.store.master_key)  # certificates may come from there
    if not settings.certificates and not elsewhere and "certificate" not in draft.bad:
        if settings.mta_sts.address:
            said = "policies are served over HTTPS, which needs TLS; add a [[certificate]] for mta-sts.DOMAIN"
            yield draft.error("mta_sts.address", said)
        for place, listener in enumerate(settings.listeners):
            if listener.role.for_users:
                yield draft.error(
                    f"listener[{place}].role", f"{listener.role} needs TLS; add a [[certificate]] with chain and key"
                )


def _roles(draft: Draft[Settings]) -> Iterator[FieldError]:
    """Yield errors where it is ambiguous what a connection came to: a port that is used differently needs addresses."""
    listeners = [
        (
            host_port(listener.address, None, lowest=0),
            (listener.role, listener.proxy_protocol_from, listener.xclient_from),
        )
        for listener in draft.value.listeners
    ]
    for place, ((host, port), use) in enumerate(listeners):
        others = [another for (_, other), another in listeners if other == port and another != use]
        if port and others and not SmartHost(host, port).is_address:
            what = "of several roles" if any(another[0] != use[0] for another in others) else "with several proxies"
            said = f"port {port} has listeners {what}; write each with its IP address, not with a name"
            yield draft.error(f"listener[{place}].address", said)
    for place, listener in enumerate(draft.value.listeners):
        if listener.xclient_from and listener.role is not ListenerRole.MX:
            said = 'XCLIENT is for mail from other servers; write role = "mx", or leave this out'
            yield draft.error(f"listener[{place}].xclient_from", said)


def _oidc(draft: Draft[Settings]) -> Iterator[FieldError]:
    """Yield errors of the OpenID Connect issuer."""
    oidc = draft.value.oidc
    if oidc.issuer and not oidc.client_id:
        yield draft.error("oidc.client_id", "is needed with issuer: what the issuer calls this gateway")
    if oidc.issuer and not oidc.groups:
        said = "without [[oidc.group]] nobody can log in through the issuer; write at least one, with name and role"
        yield draft.error("oidc.group", said)
    for place, group in enumerate(oidc.groups):
        if group.role is GroupRole.OWNER and group.organizations:
            said = "an owner administers the whole gateway; remove organizations, or choose another role"
            yield draft.error(f"oidc.group[{place}].organizations", said)


def _internal(draft: Draft[Settings]) -> Iterator[FieldError]:
    """Yield errors of hops between nodes: they need a sealed certificate, and one place for each node."""
    settings = draft.value
    for place, listener in enumerate(settings.listeners):
        if listener.role is ListenerRole.INTERNAL and not settings.store.master_key:
            said = "internal needs a certificate of the site, whose key is stored only sealed; set store.master_key"
            yield draft.error(f"listener[{place}].role", said)
    counts = Counter(node.name for node in settings.site.nodes)
    for place, node in enumerate(settings.site.nodes):
        if counts[node.name] > 1:
            yield draft.error(f"site.node[{place}].name", f"{node.name} has more than one place; write it once")
        if node.name in node.same_store or len(set(node.same_store)) < len(node.same_store):
            said = "name each of the other nodes of its database once, and not the node itself"
            yield draft.error(f"site.node[{place}].same_store", said)


def _site(draft: Draft[Settings]) -> Iterator[FieldError]:
    if draft.value.site.address and not draft.value.store.master_key:
        said = "the key of the site's authority is stored only sealed; write file:/PATH, env:NAME or credential:NAME"
        yield draft.error("store.master_key", said)


def _store(draft: Draft[Settings]) -> Iterator[FieldError]:
    """Yield errors of the address for workers: another role than that which writes all, in the same engine."""
    store = draft.value.store
    if not store.worker_url:
        return
    if store.url == SQLITE:
        said = "is for PostgreSQL, and store.url is sqlite:, with which workers may not write the configuration anyway"
        yield draft.error("store.worker_url", said)
    elif role_of(store.worker_url) == role_of(store.url):
        yield draft.error("store.worker_url", "has the role of store.url; write one that may do less")


def _reports(draft: Draft[Settings]) -> Iterator[FieldError]:
    """Yield errors of TLS reports: their sender must have a name and addresses (RFC 8460 section 4.4)."""
    reports = draft.value.tls_reports
    for name in ("organization_name", "contact", "mail_from"):
        if reports.send and not getattr(reports, name):
            yield draft.error(f"tls_reports.{name}", "it is needed with send = true: a report names its sender")


def _acme(draft: Draft[Settings]) -> Iterator[FieldError]:
    """Yield errors of other sections that certificates from an ACME authority need."""
    acme = draft.value.acme
    if not acme.agree_tos and acme != Acme() and acme.directory_url:
        said = f"without it no certificate is requested; write true if you agree to the terms of {acme.directory_url}"
        yield draft.error("acme.agree_tos", said)
    if bool(acme.eab_key_id) != bool(acme.eab_mac_key):
        missing, known = ("eab_mac_key", "eab_key_id") if acme.eab_key_id else ("eab_key_id", "eab_mac_key")
        yield draft.error(f"acme.{missing}", f"it is needed with {known}; the authority shows both together")
    if not acme.is_on:
        return
    if not draft.value.store.master_key:
        said = (
            "ACME needs it, to seal the keys of account and certificates; write file:/PATH, env:NAME or credential:NAME"
        )
        yield draft.error("store.master_key", said)
    if acme.challenge is Challenge.DNS_01 and not acme.dns_hook:
        yield draft.error(
            "acme.dns_hook", "dns-01 needs a program that publishes TXT records; write its path in a list"
        )
    for place, name in enumerate(acme.names):
        if name.startswith("*") and acme.challenge is not Challenge.DNS_01:
            said = f'only the DNS can prove that {name} is ours; write challenge = "dns-01", or the names in full'
            yield draft.error(f"acme.names[{place}]", said)


def _trusted(draft: Draft[Settings]) -> Iterator[FieldError]:
    """Of nameservers that are believed: nothing is listed that would have no effect."""
    dns = draft.value.dns
    if not dns.trusted:
        return
    if dns.validation is DnsValidation.LOCAL:
        yield draft.error("dns.trusted", 'this has no effect with validate = "local"; remove one of the two')
    elif not dns.trust_ad:
        yield draft.error("dns.trusted", "this has no effect with trust_ad = false; remove one of the two")
    servers = {host_port(nameserver, 53)[0] for nameserver in dns.nameservers}
    for place, address in enumerate(dns.trusted):
        if address not in servers:
            yield draft.error(
                f"dns.trusted[{place}]", f"{address} is not in dns.nameservers; add it there, or remove it"
            )


def _problem(error: FieldError, source: Path | None, known: dict[str, int], over: Overrides) -> SettingsProblem:
    """An error with the place that its author can go to, and the key where the place does not say it."""
    place, is_whole = _origin(error.path, source, known, over)
    return SettingsProblem(place, error.message, "" if is_whole else error.path)


def _origin(path: str, source: Path | None, known: dict[str, int], over: Overrides) -> tuple[str, bool]:
    """Where a key is written, and whether that names the key already."""
    for written, name in over.names.items():
        if path == written or path.startswith((f"{written}.", f"{written}[")):
            return name, path == written
    if source is None:
        return path, True
    line = line_of(path, known)
    return (f"{source}:{line}" if line else str(source)), False
