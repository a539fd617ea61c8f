from __future__ import annotations

import re

import pytest

KEYS = ("contoso/outbound/bank-out", "contoso/inbound/bank-in")


def switch(centre, path="/connectors/confirm", who="owner", keys=KEYS, **form):
    body = "&".join([*(f"connectors={key}" for key in keys), *(f"{name}={text}" for name, text in form.items())])
    return centre.ask("POST", path, who, body.encode(), {})


def statuses(centre):
    return {row["name"]: row["status"] for row in centre.get("/connectors?format=json").json}


def test_what_would_be_done_is_shown_first(centre):
    before = statuses(centre)
    answer = switch(centre, action="disable", back="/connectors?q=bank")
    assert answer.status == 200
    assert "2 connectors will be disabled, in one revision" in answer.words
    assert re.findall(r'name="connectors" value="([^"]+)"', answer.text)[:2] == list(KEYS)
    assert statuses(centre) == before


def test_all_are_switched_and_the_way_back_is_offered(centre):
    before = statuses(centre)
    done = switch(centre, "/connectors/switch", action="disable", back="/connectors?q=bank")
    assert (done.status, done.headers["location"]) == (303, "/connectors?q=bank")
    assert {name for name, status in statuses(centre).items() if status == "disabled"} == {"bank-in", "bank-out", "off"}
    said = centre.get("/connectors", cookie=done.headers["set-cookie"].partition(";")[0])
    path = re.search(r'action="(/history/\d+/revert)"', said.text)[1]
    form = said.text.partition('class="undo"')[2].partition("</form>")[0]
    fields = dict(re.findall(r'name="(expected|note|back)" value="([^"]+)"', form))
    assert "2 connectors are disabled" in said.words
    assert centre.post(path, **fields).headers["location"] == "/connectors?q=bank"
    assert statuses(centre) == before


def test_all_that_match_the_filter(centre):
    answer = switch(centre, keys=(), action="rehearse", which="all", q="bank")
    assert "2 connectors will be in rehearsal" in answer.words


def test_what_is_so_already_is_no_change(centre):
    assert "Nothing to change" in switch(centre, keys=("contoso/outbound/off",), action="disable").words
    done = switch(centre, "/connectors/switch", keys=("contoso/outbound/off",), action="disable")
    assert done.status == 303
    assert "Undo" not in centre.get("/connectors", cookie=done.headers["set-cookie"].partition(";")[0]).words


@pytest.mark.parametrize(
    ("keys", "form", "status"),
    [
        (KEYS, {"action": "burn"}, 422),
        ((), {"action": "enable"}, 422),
        (("contoso/sideways/bank-out",), {"action": "enable"}, 422),
        (("nonsense",), {"action": "enable"}, 422),
        (("contoso/outbound/gone",), {"action": "enable"}, 404),
    ],
)
@pytest.mark.parametrize("path", ["/connectors/confirm", "/connectors/switch"])
def test_what_cannot_be_done(centre, keys, form, status, path):
    before = statuses(centre)
    assert switch(centre, path, keys=keys, **form).status == status
    assert statuses(centre) == before


@pytest.mark.parametrize("path", ["/connectors/confirm", "/connectors/switch"])
def test_who_may_not_switches_nothing(centre, path):
    before = statuses(centre)
    assert switch(centre, path, "reader", action="disable").status == 403
    assert switch(centre, path, "tenant", action="disable").status == 404
    assert statuses(centre) == before
