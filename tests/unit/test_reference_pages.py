"""The references of settings and resources have every key, with what it takes and its default."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors import records
from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.authentication import Authentication
from gatepost.policy.connectors.client_certificate import ClientCertificate
from gatepost.policy.connectors.dkim_key import DkimKey
from gatepost.policy.connectors.fields import Duration, Label, Range, Switch
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import Mode
from gatepost.settings.model import Settings
from gatepost.settings.section import hints, section_in

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from reference_pages import resource_section, resources_page, settings_page


class Inner(Record):
    """A table inside."""

    chain: Label


class Sample(Record):
    """A sample
    of two lines."""

    name: Label = Field(description="Its name.")
    mode: Mode = Field(default=Mode.ENFORCE, description="Its mode.")
    wait: Annotated[Duration, Range(1, 60, format_duration)] = Field(default=30, description="Its patience.")
    hidden: Switch = Field(default=False, description="Not shown.")
    inner: Inner | None = Field(default=None, description="A table.")
    made: Switch = Field(default_factory=bool, description="Made up.")
    silent: Switch = False
    parts: tuple[Inner, ...] = Field(default=(), alias="part", description="[[part]]")


def test_a_section_shows_each_key_with_what_it_takes_and_its_default() -> None:
    assert resource_section("[sample]", Sample, skip={"hidden"}).splitlines() == [
        "## `[sample]`",
        "",
        "A sample of two lines.",
        "",
        "| key | takes | default | meaning |",
        "|---|---|---|---|",
        "| `name` | text of 1 to 64 characters | required | Its name. |",
        '| `mode` | "enforce", "rehearse" | `"enforce"` | Its mode. |',
        '| `wait` | duration: "30s", "15m", "24h", 1s to 1m | `"30s"` | Its patience. |',
        "| `inner` | table: chain |  | A table. |",
        "| `made` | true or false | see meaning | Made up. |",
        "| `silent` | true or false | `false` |  |",
    ]


def test_the_page_has_every_field_of_every_resource() -> None:
    page = resources_page()
    models = (
        AcceptedDomain,
        records.Mailbox,
        records.InboundConnector,
        records.OutboundConnector,
        Authentication,
        ClientCertificate,
        records.OauthIssuer,
        records.ContentHook,
        DkimKey,
    )
    for model in models:
        for name in model.model_fields:
            assert f"| `{name}` |" in page
    assert "[[organization.NAME.inbound_connector]]" in page
    assert "| `display_name` |" in page
    assert page.count("\n## ") == 11


def test_no_cell_breaks_the_tables_of_resources() -> None:
    rows = [line for line in resources_page().splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {5}


def test_the_page_has_every_key_of_every_section() -> None:
    page = settings_page()
    for section, declared in Settings.settings.items():
        assert f"## `{declared.description}`" in page
        kind = section_in(hints(Settings)[section])
        assert kind is not None
        for key, one in kind.settings.items():
            assert (f"## `{one.description}`" if section_in(hints(kind)[key]) else f"| `{key}` |") in page


def test_defaults_are_shown_as_they_would_be_written() -> None:
    page = settings_page()
    assert '| `retry` | list of: duration: "30s", "15m", "24h", 1s to 24h | `["15m", "15m", "1h"]` |' in page
    assert '| `message_bytes` | size: "256KB", "50MB", bytes, 64KB to 1024GB | `"50MB"` |' in page
    assert "| `hostname` | domain | required |" in page


def test_no_cell_breaks_the_tables_of_settings() -> None:
    rows = [line for line in settings_page().splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {5}
