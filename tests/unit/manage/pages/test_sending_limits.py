from __future__ import annotations

import time
from contextlib import closing

import pytest

from gatepost.manage.pages.sending_limits import row_of
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.sending_limits import SenderToday
from gatepost.store.sending_usage import SenderUsage
from gatepost.times import day_text

from .conftest import BASE, MARKUP, OWNER

ANN, BOB, PRINTER = "user ann@fabrikam.example", "user bob@fabrikam.example", "server a/b printer"


@pytest.fixture
def used(whole_day, centre):
    """What fabrikam's senders sent, each of at most 10 recipients a day; the printer of 4 messages."""
    server = {"name": "a/b printer", "connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.1"]}
    fabrikam = {
        "user_recipients_per_day": 10,
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": "ann@fabrikam.example", "recipients_per_day": 5}, {"address": "bob@fabrikam.example"}],
        "inbound_connector": [server | {"messages_per_day": 4}],
    }
    apply_document(centre.gateway, OWNER, {"organization": BASE | {"fabrikam": fabrikam}}, ChangeOptions("root"))

    def use(**recipients):
        names = {"ann": ANN, "bob": BOB, "printer": PRINTER}
        rows = [
            SenderUsage(day_text(time.time()), "fabrikam", names[name], messages=count, recipients=count)
            for name, count in recipients.items()
        ]
        with closing(centre.gateway.storage.sending_usage()) as table:
            table.add(rows)
        return centre

    return use


def sender(messages, allowed, recipients=0, recipients_allowed=0, lifted="no"):
    return SenderToday("o", "user a@o", messages, allowed, recipients, recipients_allowed, lifted, "", 0.0)


@pytest.mark.parametrize(
    ("row", "share", "state"),
    [
        (sender(1, 10), 0.1, ""),
        (sender(8, 10), 0.8, "near"),
        (sender(10, 10), 1.0, "reached"),
        (sender(1, 10, 11, 10), 1.1, "reached"),
        (sender(99, 0, 99, 0, "all"), None, "lifted"),
        (sender(9, 10, lifted="own"), 0.9, "lifted"),
        (sender(10, 10, lifted="own"), 1.0, "reached"),
    ],
)
def test_how_near_a_sender_is_to_its_limit(row, share, state):
    assert (row_of(row).share, row_of(row).state) == (share, state)


def test_nobody_has_sent(centre):
    assert "Nobody with a limit has sent mail today" in centre.get("/limits").words


def test_senders_are_listed_nearest_to_the_limit_first(used):
    centre = used(ann=5, bob=1, printer=3)
    page = centre.get("/limits")
    assert page.status == 200
    words = page.words.partition("Actions")[2]
    assert words.index("ann@fabrikam") < words.index("a/b printer") < words.index("bob@fabrikam")
    assert "5 of 5" in words
    assert "3 of 4" in words
    assert words.count("Limit reached") == 1
    for link in ("/mailboxes/view/fabrikam/ann%40fabrikam.example", "/connectors/fabrikam/inbound/a%2Fb%20printer"):
        assert f'href="{link}"' in page.text
        assert centre.get(link).status == 200
    assert len(centre.get("/limits?format=json").json) == 3
    assert centre.get("/limits?format=csv").text.startswith("organization,sender,messages,")
    assert len(centre.get("/limits?format=json&organization=contoso").json) == 0


def test_a_limit_is_lifted_by_whom_it_is_for(used):
    centre = used(ann=5, bob=10)
    assert "Lift…" in centre.get("/limits", "tenant").words
    lifted = centre.post("/limits", "tenant", sender=ANN, organization="fabrikam")
    assert (lifted.status, lifted.headers["location"]) == (303, "/limits")
    assert "5 of 10" in centre.get("/limits", "tenant").words
    refused = centre.post("/limits", "tenant", sender=BOB, organization="fabrikam")
    assert refused.status == 422
    assert "only the gateway's owner can lift" in refused.words
    assert centre.post("/limits", sender=BOB, organization="fabrikam").status == 303
    assert "Lifted for today" in centre.get("/limits").words


def test_who_may_not_change_lifts_nothing(used):
    centre = used(ann=5)
    assert "Lift…" not in centre.get("/limits", "reader").words
    assert centre.post("/limits", "reader", sender=ANN, organization="fabrikam").status == 403
    assert centre.post("/limits", "tenant", sender=ANN, organization="contoso").status in {403, 404}
    assert centre.post("/limits", sender=MARKUP, organization="fabrikam").status == 422
    assert MARKUP not in centre.post("/limits", sender=MARKUP, organization="fabrikam").text
