from __future__ import annotations

import json
import re
import time

import pytest

from gatepost.analysis.checks.evidence import sha256
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.drills import ListDrills, ShowKeptDrill, list_drills, show_kept_drill
from gatepost.manage.use_cases.refusal import Refusal

NAME = "contoso/bank-out"
TENANT = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
STRANGER = Principal("sid", frozenset({Scope.READ}), frozenset({"fabrikam"}))
OWNER = Principal("ann", frozenset({Scope.OWNER}))


def files(centre):
    return sorted((centre.gateway.data / "evidence" / "drills").glob("*.json"))


@pytest.fixture
def drilled(centre):
    """One drill, run by the form; the address of its page."""
    assert "No drills yet" in centre.get("/drills").words
    answer = centre.post("/drills", connector=NAME)
    assert answer.status == 303
    return answer.headers["location"]


def kept(centre, who, **fields):
    return LocalClient(centre.gateway, who).call(list_drills, ListDrills(**fields)).items


def test_a_drill_is_run_listed_and_shown(centre, drilled):
    page = centre.get(drilled)
    assert page.status == 200
    assert "this drill, earlier drills and the trace agree" in page.words
    assert "Arrived" in page.words
    assert re.search(r'<dd><time datetime="20[^"]*Z"', page.text), "in the time zone of who looks"
    assert "Drill " in re.search(r'class="notice [^>]*>(.*?)</div>', page.text, re.DOTALL)[1]
    assert "requires no TLS" in page.words, "a connector that promises nothing"
    listed = centre.get("/drills")
    assert re.findall(r'href="(/drills/[^"]+)"', listed.text) == [drilled]
    assert 'class="badge fail"' in listed.text
    (one,) = kept(centre, TENANT)
    assert (one.organization, one.connector, one.passed, one.number, one.fault) == ("contoso", "bank-out", False, 1, "")
    assert abs(one.at - time.time()) < 60
    stored = json.loads(files(centre)[0].read_text())
    assert (one.sha256, one.verdict) == (stored["sha256"], stored["record"]["verdict"])


def test_pages_of_the_list(centre, drilled):
    centre.post("/drills", connector=NAME)
    call = LocalClient(centre.gateway, TENANT).call
    first = call(list_drills, ListDrills(limit=1))
    second = call(list_drills, ListDrills(limit=1, after=first.after))
    assert [one.number for one in (*first.items, *second.items)] == [2, 1]
    assert second.after is None
    assert [one.number for one in kept(centre, OWNER, organization="contoso", connector="Bank-OUT")] == [2, 1]
    assert kept(centre, OWNER, organization="contoso", connector="bank-in") == []


def test_another_organization_sees_no_drill_and_runs_none(centre, drilled):
    assert centre.get(drilled, "tenant").status == 404
    assert drilled not in centre.get("/drills", "tenant").text
    assert centre.ask("POST", "/drills", "tenant", f"connector={NAME}".encode(), {}).status == 422
    assert centre.ask("POST", "/drills", "reader", f"connector={NAME}".encode(), {}).status == 403
    assert "Run drill" not in centre.get("/drills", "reader").text
    assert len(files(centre)) == 1
    assert kept(centre, STRANGER) == []
    client = LocalClient(centre.gateway, STRANGER)
    for name in (files(centre)[0].name, "../../config.db", "x"):
        with pytest.raises(Refusal):
            client.call(show_kept_drill, ShowKeptDrill(name=name))


@pytest.mark.parametrize("name", ["", "bank-out", "contoso/gone", "contoso/bank-in", "nobody/bank-out"])
def test_what_cannot_be_drilled_is_said_on_the_form(centre, name):
    answer = centre.post("/drills", connector=name)
    assert answer.status == 422
    assert "The drill did not run." in answer.words
    assert files(centre) == []


def test_what_was_altered_is_not_believed(centre, drilled):
    (file,) = files(centre)
    document = json.loads(file.read_text())
    document["record"]["verdict"] = "<b>all is well</b>"
    file.chmod(0o600)
    file.write_text(json.dumps(document))
    page = centre.get(drilled)
    assert "The evidence failed verification." in page.words
    assert "all is well" not in page.words
    assert "Altered" in centre.get("/drills").words
    assert "all is well" not in centre.get("/drills").words


def test_what_somebody_else_made_hash_and_all_is_no_drill(centre, drilled):
    (file,) = files(centre)
    record = json.loads(file.read_text())["record"]
    del record["requirement"]
    file.chmod(0o600)
    file.write_text(json.dumps({"sha256": sha256(record), "record": record}))
    page = centre.get(drilled)
    assert page.status == 200
    assert "The evidence failed verification." in page.words
