from __future__ import annotations

import json

import pytest

from gatepost.administration import connectors as here
from gatepost.administration.connectors import ConnectorSelection
from gatepost.checks.records import VALIDATIONS, keep, record_path
from gatepost.remote import connectors

from .conftest import OWNER


@pytest.mark.parametrize(
    "selection",
    [
        ConnectorSelection(),
        ConnectorSelection("fabrikam"),
        ConnectorSelection(direction="inbound"),
        ConnectorSelection(q="BANK", status="enabled"),
        ConnectorSelection(status="disabled"),
    ],
)
def test_lists_are_the_same(there, selection):
    data = there.api.gateway.data
    record = {"at": 17.5, "outcome": "validated", "configuration": 1, "hosts": []}
    keep(record_path(data, VALIDATIONS, "contoso", "inbound", "bank in"), json.loads(json.dumps(record)))
    expected = here.connectors(there.api.gateway, OWNER, selection).rows
    assert connectors.connectors(there, selection).rows == expected
