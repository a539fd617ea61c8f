"""Write the references of all settings and of all resource fields as Markdown, from the declarations.

Used by `docs.py` and `man_pages.py`; a test checks that the pages are current.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gatepost.policy.connectors.authentication import Authentication
from gatepost.policy.connectors.client_certificate import ClientCertificate
from gatepost.policy.connectors.record_base import form_of, keys, record_in
from gatepost.policy.connectors.records import Organization
from gatepost.settings.model import Settings
from gatepost.settings.section import Section, Setting, hints, section_in
from gatepost.settings.shown import written

_SETTINGS = """\
# Settings

The settings of one server. The gateway reads the first of `--config FILE`, the file that GATEPOST_CONFIG names,
`/etc/gatepost/gatepost.toml` and `./gatepost.toml`; a file that ends in `.json` has the same in JSON. Every key can
also be set in the environment, as `GATEPOST_SECTION__KEY`, which overrides the file; `[[listener]]` and
`[[certificate]]` as JSON lists in `GATEPOST_LISTENER` and `GATEPOST_CERTIFICATE`. Durations are seconds or texts like
"30s", "15m", "24h"; sizes are bytes or texts such as "256KB", "50MB" (powers of 1024). Relative paths start at the
directory of the file.

This page is generated from `gatepost.settings.model`.
"""
_RESOURCES = """\
# Resources

Organizations, their domains, mailboxes and connectors, as `gatepost apply -f FILE` takes them and `gatepost export`
prints them, in TOML or JSON. An organization becomes exactly what an applied file says of it; others stay as they are.
The names of fields are Exchange's in snake case, values are in kebab case.
A list of a connector may have 10,000 entries, or as many as the longest that is stored already.
This page is generated from `gatepost.policy.connectors.records`.
"""


def settings_page() -> str:
    """docs/settings.md: every key of every section."""
    parts = [_SETTINGS]
    for section, declared in Settings.settings.items():
        kind = section_in(hints(Settings)[section])
        assert kind is not None  # noqa: S101 - every key of Settings is a table or a list of tables
        parts.append(_settings_section(declared.description, kind))
        lists = ((part, section_in(hints(kind)[key])) for key, part in kind.settings.items())
        parts.extend(_settings_section(part.description, below) for part, below in lists if below is not None)
    return "\n".join(parts)


def _settings_section(heading: str, kind: type[Section]) -> str:
    """The keys of a section; lists of tables have sections of their own."""
    takes = hints(kind)
    rows = [
        (key, form_of(takes[key]), _settings_default(declared, takes[key]), declared.description)
        for key, declared in kind.settings.items()
        if section_in(takes[key]) is None
    ]
    return table(heading, kind.__doc__, rows)


def _settings_default(declared: Setting, annotation: Any) -> str:
    """The default as a document would write it."""
    return "required" if declared.is_required else f"`{json.dumps(written(declared.default, annotation))}`"


def resources_page() -> str:
    """docs/resources.md: every field of every resource."""
    parts = [_RESOURCES, resource_section("[organization.NAME]", Organization, skip={"name"})]
    for field in Organization.model_fields.values():
        model = record_in(field.annotation)
        if model is not None:
            parts.append(resource_section(field.description or "", model))
    parts.append(resource_section("authentication", Authentication))
    parts.append(resource_section("client_certificate", ClientCertificate))
    return "\n".join(parts)


def resource_section(heading: str, model: type[BaseModel], skip: Collection[str] = ()) -> str:
    """A heading, what the table is, and its keys. Lists of tables (with an alias) have sections of their own."""
    defaults = model.model_construct().model_dump(mode="json", by_alias=True)
    rows = [
        (
            key,
            form_of(info.annotation, info.metadata),
            _field_default(info, defaults.get(key)),
            info.description or "",
        )
        for key, info in keys(model).items()
        if key not in skip and (info.alias is None or record_in(info.annotation) is None)
    ]
    return table(heading, model.__doc__, rows)


def _field_default(info: FieldInfo, value: object) -> str:
    """The default as a document would write it; nothing for what is left unset."""
    if info.is_required():
        return "required"
    if info.default_factory is not None:
        return "see meaning"
    return "" if value is None else f"`{json.dumps(value)}`"


def table(heading: str, about: str | None, rows: Iterable[tuple[str, str, str, str]]) -> str:
    """A heading, what the table is, and its rows: key, what it takes, its default, what it means."""
    text = " ".join((about or "").split())
    lines = [f"| `{key}` | {takes} | {default} | {meaning} |" for key, takes, default, meaning in rows]
    head = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## `{heading}`", "", text, "", *head, *lines, ""])
