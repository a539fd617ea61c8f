"""The reference of all settings as Markdown, generated from the models.

Called by the generator of the docs page; a test checks that the page is current.
"""

from __future__ import annotations

import json
from typing import Any, get_args, get_origin

from gatepost.policy.connectors.describe import form_of, table
from gatepost.policy.connectors.fields import Written
from gatepost.settings.model import Settings
from gatepost.settings.section import Section, Setting, hints, section_in

_INTRODUCTION = """\
# Settings

The settings of one server. The gateway reads the first of `--config FILE`, the file that GATEPOST_CONFIG names,
`/etc/gatepost/gatepost.toml` and `./gatepost.toml`; a file that ends in `.json` has the same in JSON. Every key can
also be set in the environment, as `GATEPOST_SECTION__KEY`, which overrides the file; `[[listener]]` and
`[[certificate]]` as JSON lists in `GATEPOST_LISTENER` and `GATEPOST_CERTIFICATE`. Durations are seconds or texts like
"30s", "15m", "24h"; sizes are bytes or texts such as "256KB", "50MB" (powers of 1024). Relative paths start at the
directory of the file.

This page is generated from `gatepost.settings.model`.
"""


def markdown() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for section, declared in Settings.settings.items():
        kind = section_in(hints(Settings)[section])
        assert kind is not None  # noqa: S101 - every key of Settings is a table or a list of tables
        parts.append(_section(declared.description, kind))
        lists = ((part, section_in(hints(kind)[key])) for key, part in kind.settings.items())
        parts.extend(_section(part.description, below) for part, below in lists if below is not None)
    return "\n".join(parts)


def _section(heading: str, kind: type[Section]) -> str:
    """The keys of a section; lists of tables have sections of their own."""
    takes = hints(kind)
    rows = [
        (key, form_of(takes[key]), _default(declared, takes[key]), declared.description)
        for key, declared in kind.settings.items()
        if section_in(takes[key]) is None
    ]
    return table(heading, kind.__doc__, rows)


def _default(declared: Setting, annotation: Any) -> str:
    """The default as a document would write it."""
    return "required" if declared.is_required else f"`{json.dumps(written(declared.default, annotation))}`"


def written(value: Any, annotation: Any) -> Any:
    """A value as a settings file has it: durations and sizes with their units."""
    marks = getattr(annotation, "__metadata__", ())
    kind = annotation.__origin__ if marks else annotation
    if get_origin(kind) is tuple:
        return [written(entry, get_args(kind)[0]) for entry in value]
    return next((mark.write(value) for mark in marks if isinstance(mark, Written)), value)
