"""The reference of all settings as Markdown, generated from the models.

Called by the generator of the docs page; a test checks that the page is current.
"""

from __future__ import annotations

from gatepost.policy.connectors.describe import section
from gatepost.policy.connectors.fields import keys, record_in
from gatepost.settings.model import Settings

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
    for info in keys(Settings).values():
        model = record_in(info.annotation)
        assert model is not None  # noqa: S101 - every key of Settings is a table or a list of tables
        parts.append(section(info.description or "", model))
        lists = ((part, record_in(part.annotation)) for part in keys(model).values() if part.alias is not None)
        parts.extend(section(part.description or "", below) for part, below in lists if below is not None)
    return "\n".join(parts)
