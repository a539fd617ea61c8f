from __future__ import annotations

import time

import pytest

from gatepost.policy.decisions.destination_history import DestinationName, SeenSession
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile

AUTH, TLS, CLEAR = (Achieved(level, MxLevel.NONE) for level in (TlsLevel(2), TlsLevel(1), TlsLevel(0)))
DAY = 86400.0


@pytest.fixture
def seen(home):
    """A destination that does what it did, one that fell, one with a weaker host, one of smart hosts that fell."""
    now = time.time()

    def sessions(*steps):
        return [
            (SeenSession(host, level, now - days * DAY, "TLSv1.3" if level.tls else ""), False)
            for host, level, days in steps
        ]

    file = DestinationFile(home.data / DESTINATIONS_FILE)
    file.write(
        {
            DestinationName("contoso", "good.example"): sessions(("mx.good.example", AUTH, 9)),
            DestinationName("contoso", "fallen.example"): sessions(
                ("mx\x1b.example", AUTH, 9), ("mx\x1b.example", CLEAR, 1)
            ),
            DestinationName("contoso", "two.example", "out"): sessions(("mx1", AUTH, 9), ("mx2", TLS, 8)),
            DestinationName("fabrikam", "", "Bank"): sessions(("10.0.0.1:2525", TLS, 9), ("10.0.0.1:2525", CLEAR, 1)),
        }
    )
    file.close()
    return home


LISTS = [
    ((), ["fallen.example", "good.example", "two.example (connector:out)", "connector:Bank"]),
    (("--below",), ["fallen.example", "two.example (connector:out)", "connector:Bank"]),
    (("--below", "--limit", "1"), ["fallen.example"]),
    (("Good.example.",), ["good.example"]),
    (("--connector", "bank"), ["connector:Bank"]),
    (("--organization", "contoso", "--below"), ["fallen.example", "two.example (connector:out)"]),
    (("nobody.example",), []),
]


@pytest.mark.parametrize(("words", "names"), LISTS)
def test_the_list(seen, words, names):
    rows = seen.table("destination", "list", *words)
    assert [row["destination"] for row in rows] == names


def test_a_row_says_best_and_what_is_below(seen):
    good, fallen = (seen.table("destination", "list", name)[0] for name in ("good.example", "fallen.example"))
    assert (good["best"], good["below"]) == ("none/authenticated", "")
    assert fallen["below"] == "mx?.example: none/none"
    assert fallen["since"] < fallen["last session"]


def test_nothing_is_remembered_yet(home):
    assert home.json("destination", "list") == []
    assert home.call("destination", "list").stdout.startswith("organization\tdestination\t")


def test_show_says_everything_and_whether_it_does_less(seen):
    shown = seen.call("destination", "show", "fallen.example", code=1).stdout
    for words in ("fallen.example of contoso", "LESS than none/authenticated", "encrypted", "mx?.example"):
        assert words in shown, shown
    assert "TLSv1.3" in seen.call("destination", "show", "good.example").stdout
    (record,) = seen.json("destination", "show", "--connector", "bank", code=1)
    assert (record["organization"], record["domain"], record["connector"]) == ("fabrikam", "", "Bank")
    assert (record["best"], record["below"]) == ("none/encrypted", ["10.0.0.1:2525"])
    (host,) = record["hosts"]
    assert (host["last"], host["tls_version"], list(host["seen"])) == ("none/none", "", ["encrypted"])
    assert host["seen"]["encrypted"]["since"] == host["first_session"]


def test_accept_takes_it_as_it_is(seen):
    run = seen.call("destination", "accept", "fallen.example")
    assert "accepted: fallen.example of contoso at none/none" in run.stdout
    assert "0 deliveries" in run.stderr
    assert [row["destination"] for row in seen.table("destination", "list", "--below")] == LISTS[1][1][1:]
    seen.call("destination", "show", "fallen.example")
    assert "nothing to accept" in seen.call("destination", "accept", "fallen.example", code=1).stderr


def test_accept_remembers_who_bears_with_a_weaker_host(seen):
    (record,) = seen.json("destination", "accept", "two.example")
    weak = next(host for host in record["hosts"] if host["host"] == "mx2")
    assert weak["accepted"]["level"] == "none/encrypted"
    assert weak["accepted"]["by"]
    assert record["best"] == "none/authenticated"
    assert "accepted      none/encrypted by" in seen.call("destination", "show", "two.example").stdout


def test_accept_all_that_an_organization_has(seen):
    seen.call("destination", "forget", "good.example")
    assert seen.call("destination", "accept", "--all", "--organization", "contoso").stdout.count("accepted:") == 2
    assert [row["organization"] for row in seen.table("destination", "list", "--below")] == ["fabrikam"]


def test_forget_begins_anew(seen):
    assert "forgotten: connector:Bank of fabrikam" in seen.call("destination", "forget", "--connector", "bank").stdout
    assert len(seen.json("destination", "list")) == 3
    seen.call("destination", "forget", "--all")
    assert seen.json("destination", "list") == []


@pytest.mark.parametrize("verb", ["accept", "forget"])
def test_what_one_organization_takes_is_not_the_others_to_take(seen, verb):
    file = DestinationFile(seen.data / DESTINATIONS_FILE)
    now = time.time()
    steps = [(SeenSession("mx", level, now - days * DAY), False) for level, days in ((AUTH, 9), (CLEAR, 1))]
    file.write({DestinationName(f"tenant{number:02}", "fallen.example"): steps for number in range(12)})
    file.close()
    refused = seen.call("destination", verb, "fallen.example", code=2).stderr
    assert f"say whose to {verb}: contoso, tenant00" in refused
    assert "and 3 more" in refused
    assert len(seen.table("destination", "list", "--below", "fallen.example")) == 13
    seen.call("destination", verb, "fallen.example", "--organization", "contoso")
    assert len(seen.table("destination", "list", "--below", "fallen.example")) == 12
    seen.call("destination", verb, "fallen.example", "--all")
    assert seen.table("destination", "list", "--below", "fallen.example") == []


@pytest.mark.parametrize("verb", ["show", "accept", "forget"])
def test_what_is_not_known_and_what_is_not_said(seen, verb):
    assert "nothing is recorded for nobody.example" in seen.call("destination", verb, "nobody.example", code=1).stderr
    assert "[10.0.0.9]" in seen.call("destination", verb, "[10.0.0.9]", code=1).stderr
    assert "is not a domain" in seen.call("destination", verb, "no\x1bbody.example", code=2).stderr
    assert "connector no" in seen.call("destination", verb, "--connector", "no", code=1).stderr
    assert "name the destination" in seen.call("destination", verb, code=2).stderr
    if verb != "show":
        missing = seen.call("destination", verb, "--all", "--organization", "nobody", code=1)
        assert "any destination" in missing.stderr


@pytest.mark.parametrize("words", [("list",), ("show", "x.example"), ("accept", "x.example"), ("forget", "x.example")])
def test_a_file_that_cannot_be_used(home, words):
    home.data.mkdir()
    (home.data / DESTINATIONS_FILE).write_bytes(b"rubbish" * 1000)
    run = home.call("destination", *words, code=3)
    assert DESTINATIONS_FILE in run.stderr
    assert "Traceback" not in run.stderr


def test_held_mail_that_cannot_be_reached_is_said(seen):
    broken = seen.data / "queue" / "0" / "q.db"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"rubbish" * 1000)
    assert "queue" in seen.call("destination", "accept", "fallen.example", code=3).stderr
