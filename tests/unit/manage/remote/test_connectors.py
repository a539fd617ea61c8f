from __future__ import annotations

import json

import pytest

from gatepost.analysis.checks.records import VALIDATIONS, keep, record_path
from gatepost.manage.remote import connectors
from gatepost.manage.use_cases import connectors as here
from gatepost.manage.use_cases.connectors import ConnectorSelection

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
