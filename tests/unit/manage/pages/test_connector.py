from __future__ import annotations

import time

import pytest
from tests.unit.manage.pages.conftest import OWNER

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.manage.use_cases.resources import apply_document
from gatepost.store.sqlite.trace import write_events

PATH = "/connectors/contoso/outbound/bank-out"


def test_a_page_is_quick_and_its_parts_come_later(centre):
    answer = centre.get(PATH)
    for part in ("mail", "report", "changes"):
        assert f"part={part}" in answer.text
    assert "127.0.0.1:1" in answer.words
    assert "Not validated yet." in answer.words


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("mail", "No matching mail in the last 30 days"),
        ("mail", "Last 7 days, each attempt"),
        ("report", "no matching mail in this time"),
        ("changes", "outbound_connector['bank-out']"),
    ],
)
def test_a_part_is_shown_alone_or_in_the_page(centre, monkeypatch, part, said):
    monkeypatch.setattr("gatepost.manage.pages.connector.PATIENCE", 20.0)
    alone = centre.get(f"{PATH}?part={part}", hx_request="true", hx_request_type="partial")
    assert alone.text.lstrip().startswith(f'<section class="panel" id="{part}"')
    assert said in alone.words
    assert said in centre.get(f"{PATH}?part={part}").words


@pytest.mark.parametrize(
    ("do", "path", "field", "value"),
    [
        ("disable", PATH, "enabled", False),
        ("rehearse", PATH, "mode", "rehearse"),
        ("enable", "/connectors/contoso/outbound/off", "enabled", True),
        ("enforce", "/connectors/contoso/outbound/off", "mode", None),
    ],
)
def test_a_switch_changes_one_field(centre, do, path, field, value):
    name = path.rpartition("/")[2]
    before = centre.stored("outbound_connector", name)
    answer = centre.post(path, do=do, note="why")
    assert (answer.status, answer.headers["location"]) == (303, path)
    after = centre.stored("outbound_connector", name)
    assert after.get(field) == value
    assert {key: one for key, one in after.items() if key != field} == {
        key: one for key, one in before.items() if key != field
    }


def test_what_is_needed_is_not_removed_and_the_rest_is(centre):
    answer = centre.post(PATH, do="remove")
    assert answer.status == 422
    assert "mail flow rule 'secrets' of contoso" in answer.words
    assert centre.post("/connectors/contoso/outbound/off", do="remove").status == 303
    assert centre.stored("outbound_connector", "off") is None


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        (PATH, "tenant", 404),
        (PATH, "reader", 403),
        ("/connectors/contoso/outbound/none", "owner", 404),
        ("/connectors/contoso/inbound/bank-out", "owner", 404),
    ],
)
def test_who_may_not_does_nothing(centre, path, who, status):
    assert centre.post(path, who, do="disable").status == status
    assert centre.stored("outbound_connector", "bank-out").get("enabled") is None


def test_nothing_is_done_by_another_name(centre):
    assert centre.post(PATH, do="explode").status == 404


def test_a_report_that_takes_long_is_asked_for_again(centre, monkeypatch):
    path = "/connectors/contoso/outbound/bank-out?part=report"
    part = {"hx_request": "true", "hx_request_type": "partial"}
    with centre.gateway.kept(ReportCounts).counting:  # somebody else's turn
        answer = centre.get(path, **part)
        assert "This can take some seconds" in answer.words
        assert 'hx-trigger="load delay:1s"' in answer.text
        assert "<html" not in answer.text
    done = centre.get(path)  # without a script it is waited for
    assert "no matching mail" in done.words
    assert "Inconclusive" in done.words
    monkeypatch.setattr("gatepost.manage.pages.connector.PATIENCE", 20.0)
    assert "hx-trigger" not in centre.get(path, **part).text


def test_what_the_owners_report_has_of_others_mail_is_not_in_that_of_a_tenant(centre):
    """Both look at the same page of the tenant's connector, the owner first: the answer is kept for each by itself."""
    connector = {"name": "any", "connector_type": "on-premises", "sender_ip_addresses": ["203.0.113.0/24"]}
    connector |= {"senders_by_address": "any", "enabled": False}
    document = {"organization": {"fabrikam": {"inbound_connector": [connector]}}}
    document["organization"]["fabrikam"]["accepted_domain"] = [{"name": "fabrikam.example"}]
    apply_document(centre.gateway, OWNER, document, ChangeOptions("ann"))
    came = {"peer_address": "203.0.113.9", "peer_host": "mx.strange.example"}
    rows = [
        ("RECEIVE", "1", "contoso", "ann@fabrikam.example", "ann@contoso.example"),
        ("RECEIVE", "2", "fabrikam", "", "ann@fabrikam.example"),
    ]
    events = [TraceEvent(time.time() - 60, *row[:3], "incoming", f"s{row[1]}", *row[3:], **came) for row in rows]
    write_events(centre.gateway.data / "trace", "0", events)
    path = "/connectors/fabrikam/inbound/any?part=report"
    assert "Messages 2" in centre.get(path).words
    assert "Messages 1" in centre.get(path, "tenant").words
