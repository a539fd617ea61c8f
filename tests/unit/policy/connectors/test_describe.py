from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from gatepost.policy.connectors import records
from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.authentication import Authentication
from gatepost.policy.connectors.client_certificate import ClientCertificate
from gatepost.policy.connectors.describe import form_of, markdown, section
from gatepost.policy.connectors.dkim_key import DkimKey
from gatepost.policy.connectors.fields import Duration, Label, Range, Switch, Whole
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import Mode


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
    assert section("[sample]", Sample, skip={"hidden"}).splitlines() == [
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


@pytest.mark.parametrize(
    ("annotation", "form"),
    [
        (Mode, '"enforce", "rehearse"'),
        (Mode | None, '"enforce", "rehearse"'),
        (tuple[Label, ...], "list of: text of 1 to 64 characters"),
        (Annotated[Whole, Range(0, 5)], "whole number, 0 to 5"),
        (Inner | None, "table: chain"),
    ],
)
def test_what_a_type_takes(annotation: object, form: str) -> None:
    assert form_of(annotation) == form


def test_the_page_has_every_field_of_every_resource() -> None:
    page = markdown()
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


def test_no_cell_breaks_the_tables() -> None:
    rows = [line for line in markdown().splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {5}
