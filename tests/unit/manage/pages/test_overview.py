from __future__ import annotations

import time

import pytest

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Alarm, AlarmStatus, Memory, Severity, encoded
from gatepost.analysis.alarms.alarm import Kind as AlarmKind
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.nodes import NodeFigures, NodeIdentity
from gatepost.store.sqlite.trace import write_events

PARTIAL = {"hx_request": "true", "hx_request_type": "partial"}


def alarm(about, severity=Severity.ERROR, kind=AlarmKind.PARTNER_FAILING):
    return Alarm(kind, severity, "", f"Kanarie {about}", "<b>Detail</b>.", "Do it.", about, since=1000.0)


@pytest.fixture
def alarmed(centre):
    """Two partners fail, one of each organization, and the queue is old."""

    def keep(*alarms):
        memory = Memory(looked=time.time(), standing=tuple(AlarmStatus(one, 1) for one in alarms))
        with centre.gateway.config() as store:
            store.apply({}, author="test", content={ALARMS_CONTENT: encoded(memory)})
        return centre

    return keep


@pytest.fixture
def waiting(centre, queued):
    def fill(*messages):
        queued(centre.gateway.data, *messages)
        return centre

    return fill


def test_what_needs_somebody_comes_first_and_is_bounded(alarmed):
    many = alarmed(*(alarm(f"contoso/{number}") for number in range(9)))
    page = many.get("/")
    assert page.status == 200
    assert page.text.count("Kanarie") == 5
    assert "9" in page.words
    assert "<b>Detail" not in page.text


@pytest.mark.parametrize(
    ("severities", "badge"),
    [
        ((), ""),
        ((Severity.WARNING,), "Warning"),
        ((Severity.WARNING, Severity.CRITICAL, Severity.WARNING), "Critical"),
    ],
)
def test_the_number_of_alarms_looks_like_the_gravest(alarmed, severities, badge):
    page = alarmed(*(alarm(f"contoso/{at}", one) for at, one in enumerate(severities))).get("/")
    tile = page.text.partition('href="/alarms">\n<span class="tile-label">Alarms')[2].partition("</a>")[0]
    assert f'<span class="tile-value">{len(severities)}</span>' in tile
    assert (badge or "no active alarms") in tile


def test_alarms_of_others_are_not_there(alarmed):
    centre = alarmed(alarm("contoso/bank"), alarm("fabrikam/shop"), alarm("queue", kind=AlarmKind.QUEUE_AGE))
    for path in ("/", "/alarms", "/alarms?format=json", "/alarms?format=csv"):
        told = centre.get(path, "tenant").text
        assert ("fabrikam/shop" in told, "contoso/bank" in told, "Kanarie queue" in told) == (True, False, False), path
        assert "contoso/bank" in centre.get(path).text


def test_what_waits_is_counted_for_who_sees_it(waiting):
    centre = waiting({"contoso": ["x@bank.example"]}, {"fabrikam": ["y@shop.example", "z@shop.example"]})
    assert "bank.example" in centre.get("/").text
    tenant = centre.get("/", "tenant").text
    assert ("shop.example" in tenant, "bank.example" in tenant) == (True, False)
    chosen = centre.get("/?organization=contoso").text
    assert ("shop.example" in chosen, "bank.example" in chosen) == (False, True)
    assert "bank.example" not in centre.get("/?organization=contoso", "tenant").text


def test_what_is_the_gateways_is_for_who_sees_the_whole(centre):
    assert "Configuration" in centre.get("/").words
    assert "root" in centre.get("/").words
    for word in ("Certificates that end", "Workers"):
        assert word not in centre.get("/", "tenant").words


@pytest.mark.parametrize("organization", ["", "contoso", "fabrikam", "nobody", "<script>"])
@pytest.mark.parametrize("who", ["owner", "tenant"])
def test_the_picture_of_the_last_day(centre, who, organization):
    now = time.time()
    rows = [
        TraceEvent(now - 60, "RECEIVE", "1a", "contoso", "incoming", "s", "a@b", f"{n}@c", achieved="none/encrypted")
        for n in range(3)
    ]
    write_events(centre.gateway.data / "trace", "0", rows)
    part = centre.get(f"/overview/flows?organization={organization}", who, **PARTIAL)
    assert part.status == 200
    assert "<script>" not in part.text
    seen = who == "owner" and organization in {"", "contoso"}
    assert ("No mail in the last 24 hours" in part.text) is not seen
    assert ("Nothing that you can see here was received or sent." in part.text) is not seen, "the gateway may have"


def test_without_a_script_the_picture_is_a_page(centre):
    assert "<html" in centre.get("/overview/flows").text


def test_nodes_are_shown_to_who_sees_the_gateway(centre):
    registry = centre.gateway.storage.nodes()
    node = NodeIdentity("mx1 <b>", "start", "data", "host", "1.0")
    registry.enter(node)
    registry.beat(node, 0, 71, 1, NodeFigures(1, 2, 3))
    page = centre.get("/")
    assert "mx1 &lt;b&gt;" in page.text
    assert "Active" in page.words
    assert "seconds ago" in page.words
    with registry._database.single() as connection:
        connection.execute(
            "INSERT INTO lease (name, node, holder, epoch, expires) VALUES ('acme', 'mx1 <b>', 'h', 1, ?)",
            (time.time() + 30,),
        )
    assert "Renews certificates (ACME)" in centre.get("/").words
    registry.drain("mx1 <b>")
    assert "Draining" in centre.get("/").words
    registry.close()
    assert "In force on" in centre.get("/history/1").words


def test_the_gravest_comes_first(centre):
    page = centre.get("/doctor")
    assert page.status == 200
    assert "there is no certificate: STARTTLS is not offered" in page.words
    assert page.words.index("there is no certificate") < page.words.index("it can be used")
    assert "Ask the DNS, too" in page.words
    assert "nameservers" not in page.words.partition("Ask the DNS")[0]


def test_what_a_finding_is_about_is_in_the_language_of_the_page(centre):
    words = centre.get("/doctor", accept_language="de").words
    assert "Datenträger" in words
    assert "Abschottung" in words


def test_the_gateways_own_state_is_not_there_for_a_tenant(centre):
    for path in ("/doctor", "/doctor?network=1", "/quickstart"):
        assert centre.get(path, "tenant").status == 404


def test_the_dns_is_asked_on_request(centre):
    page = centre.get("/doctor?network=1")
    assert page.status == 200
    assert "set [dns] nameservers to one that answers" in page.words
    assert "Ask the DNS, too" not in page.words
