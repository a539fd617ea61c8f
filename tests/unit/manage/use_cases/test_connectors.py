from __future__ import annotations

import os

import pytest

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.connectors import ConnectorSelection, LastValidation, connector_record, connectors
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.resources import apply_document
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ}), frozenset({"fabrikam"}))
BASE = {
    "contoso": {
        "inbound_connector": [{"name": "bank-in", "sender_domains": ["bank.example"]}],
        "outbound_connector": [
            {"name": "bank-out", "recipient_domains": ["bank.example"], "mode": "rehearse", "sign": "smime"},
            {
                "name": "hq",
                "connector_type": "on-premises",
                "all_accepted_domains": True,
                "smart_hosts": ["hq.example"],
                "use_mx_record": False,
            },
        ],
    },
    "fabrikam": {"outbound_connector": [{"name": "off", "enabled": False, "recipient_domains": ["lab.example"]}]},
}


@pytest.fixture
def base(gateway):
    apply_document(gateway, OWNER, {"organization": BASE}, ChangeOptions("ann"))
    return gateway


LISTS = [
    (OWNER, ConnectorSelection(), 4, ["bank-in", "bank-out", "hq", "off"]),
    (OWNER, ConnectorSelection(direction="outbound"), 3, ["bank-out", "hq", "off"]),
    (OWNER, ConnectorSelection("contoso", direction="inbound"), 1, ["bank-in"]),
    (OWNER, ConnectorSelection(status="rehearsal"), 1, ["bank-out"]),
    (OWNER, ConnectorSelection(status="enabled"), 2, ["bank-in", "hq"]),
    (OWNER, ConnectorSelection(q="LAB"), 1, ["off"]),
    (OWNER, ConnectorSelection(q="bank"), 2, ["bank-in", "bank-out"]),
    (OWNER, ConnectorSelection(limit=2, offset=1), 4, ["bank-out", "hq"]),
    (TENANT, ConnectorSelection(), 1, ["off"]),
    (TENANT, ConnectorSelection(q="bank"), 0, []),
]


@pytest.mark.parametrize(("who", "selection", "total", "names"), LISTS)
def test_a_page_has_the_connectors_that_are_wanted(base, who, selection, total, names):
    page = connectors(base, who, selection)
    assert (page.version, page.total, [row.name for row in page.rows]) == (1, total, names)


def test_anothers_connectors_are_not_there(base):
    with pytest.raises(Refusal, match="there is no organization 'contoso'; there are: 'fabrikam'"):
        connectors(base, TENANT, ConnectorSelection("contoso"))


def test_a_row_says_whom_it_stands_between_and_what_it_demands(base):
    rows = {row.name: row for row in connectors(base, OWNER).rows}
    assert (rows["bank-in"].sender, rows["bank-in"].receiver) == ("Partner organization", "This gateway")
    assert (rows["hq"].sender, rows["hq"].receiver) == ("This gateway", "Your organization's email server")
    assert (rows["bank-out"].status, rows["bank-out"].mode, rows["off"].status) == ("rehearsal", "rehearse", "disabled")
    assert rows["bank-in"].requires == ["TLS"]
    assert rows["bank-out"].requires == ["opportunistic", "signed (S/MIME)"]
    assert rows["hq"].domains == ["accepted domains"]


def test_a_row_says_how_the_last_validation_ended(base):
    record = {"at": 5.0, "outcome": "failed", "configuration": 1, "hosts": []}
    CheckRecords(Storage(SQLITE, base.data), VALIDATIONS, "contoso").keep("outbound", "bank-out", record)
    rows = {row.name: row for row in connectors(base, OWNER).rows}
    assert rows["bank-out"].validated == LastValidation(5.0, "failed", 1)
    assert connector_record(rows["bank-out"]) == {
        "status": "rehearsal",
        "direction": "outbound",
        "name": "bank-out",
        "organization": "contoso",
        "from": "This gateway",
        "to": "Partner organization",
        "domains": "bank.example",
        "requires": "opportunistic, signed (S/MIME)",
        "validated": {"at": 5.0, "outcome": "failed", "configuration": 1},
    }
    assert rows["hq"].validated is None


SORTED = [
    ("name", ["bank-in", "bank-out", "hq", "off"]),
    ("-name", ["off", "hq", "bank-out", "bank-in"]),
    ("status", ["off", "bank-in", "hq", "bank-out"]),
    ("from", ["bank-in", "bank-out", "hq", "off"]),
    ("to", ["bank-out", "off", "bank-in", "hq"]),
    ("mode", ["bank-in", "hq", "off", "bank-out"]),
    ("domains", ["hq", "bank-in", "bank-out", "off"]),
    ("requires", ["bank-in", "hq", "off", "bank-out"]),
    ("-validated", ["hq", "bank-in", "bank-out", "off"]),
    ("-verdicts", ["bank-in", "bank-out", "hq", "off"]),
    ("colour", ["bank-in", "bank-out", "hq", "off"]),
]


@pytest.mark.parametrize(("sort", "names"), SORTED)
def test_the_order_is_that_of_a_column(base, sort, names):
    for when, (direction, name) in enumerate([("inbound", "bank-in"), ("outbound", "hq")]):
        records = CheckRecords(Storage(SQLITE, base.data), VALIDATIONS, "contoso")
        records.keep(direction, name, {"at": 100.0 * when, "outcome": "validated"})
        os.utime(base.data / VALIDATIONS / "contoso" / f"{direction}-{name}.json", (1000.0 + when, 1000.0 + when))
    assert [row.name for row in connectors(base, OWNER, ConnectorSelection(sort=sort)).rows] == names
    page = connectors(base, OWNER, ConnectorSelection(sort=sort, limit=2, offset=1))
    assert [row.name for row in page.rows] == names[1:3]
