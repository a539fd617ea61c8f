"""The settings that are to be the same on all nodes of a site, as digests that nodes tell each other. Pure.

`node.site_member` sends those of its node with a heartbeat; `manage.use_cases.nodes` compares them.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.settings.model import Settings
from gatepost.settings.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator


OWN_SETTINGS: Final = frozenset({
    "server.hostname", "server.own_addresses", "server.node", "server.data_dir", "server.workers", "server.user",
    "server.group", "store.url", "store.memory_budget", "store.free_space", "dns.nameservers", "dns.trusted",
    "dns.trust_anchor_file", "pkcs11.provider", "acme.http_address", "admin.names", "admin.chain", "admin.key",
    "metrics.names", "site.address", "site.node_lifetime", "site.node", "log.level", "log.format",
})  # fmt: skip
"""Each node has its own: names, paths, the size of its machine, how it logs. So has it certificates."""

SWITCHED_SETTINGS: Final = frozenset({
    "store.worker_url", "store.master_key", "tls.trust_anchors", "pkcs11.module", "pkcs11.pin", "acme.eab_mac_key",
    "acme.dns_hook", "acme.trust_anchors", "admin.address", "oidc.client_secret", "oidc.trust_anchors",
    "mta_sts.address", "certificate_table.address", "tls_reports.address", "alarms.webhook", "alarms.webhook_secret",
    "otel.endpoint", "otel.secret",
})  # fmt: skip
"""Addresses, paths and what may lead to a secret: only whether they are set is compared."""

_NONE: Final = object()


def is_compared(key: str) -> bool:
    """Whether a key that a node said is one of the settings that are compared here."""
    table, _, name = key.partition(".")
    declared = Settings.types[table] if table in Settings.settings else None
    keys = declared.settings if isinstance(declared, type) and issubclass(declared, Section) else ()
    return key == "listener" or (name in keys and key not in OWN_SETTINGS)


def settings_digests(settings: Settings) -> dict[str, str]:
    """Digests of what is not as by default, by key as in "rates.messages": 64 bits of a SHA-256, in hexadecimal.

    Of `[[listener]]`, under "listener", the roles and whether others may name the client there.
    """
    listeners = {
        (listener.role, bool(listener.proxy_protocol_from), bool(listener.xclient_from))
        for listener in settings.listeners
    }
    values = {"listener": sorted(listeners), "metrics.address": bool(settings.metrics_address)}
    for table in Settings.settings.values():
        section = getattr(settings, table.name)
        if isinstance(section, Section):
            values.update(_compared(table.key, section))
    return {key: _digest(value) for key, value in values.items() if value}


def _compared(table: str, section: Section) -> Iterator[tuple[str, Any]]:
    """The keys of a table with another value than their default."""
    for name, value in _changed(section).items():
        key = f"{table}.{next(key for key, declared in section.settings.items() if declared.name == name)}"
        if key in SWITCHED_SETTINGS:
            default = getattr(type(section), name)
            if _switched(value) != _switched(default):
                yield key, [_switched(value)]
        elif key not in OWN_SETTINGS and key != "metrics.address":
            yield key, [value]


def _switched(value: Any) -> str | bool:
    return "system" if value == "system" else bool(value)


def _changed(section: Section) -> dict[str, Any]:
    """Values that are not as by default, by name; of a table inside a list, too, as a newer release may have more."""
    written = ((name, getattr(section, name)) for name in sorted(section.written))
    return {name: value for name, value in written if value != getattr(type(section), name, _NONE)}


def _digest(value: Any) -> str:
    return sha256(msgspec.json.encode(value, enc_hook=_changed)).hexdigest()[:16]
