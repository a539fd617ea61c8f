from __future__ import annotations

import re
import subprocess
import sys

import apsw
import pytest

from gatepost.store.interface import QueueFilter
from gatepost.store.sqlite.schema import QUEUE_FILE

NOBODY = "0000000000000001"


def states(home):
    return [(entry.delivery.destination, entry.state) for entry in home.administration.entries(QueueFilter())]


WHOLE = [
    ("contoso/partner.example", "deferred"),
    ("contoso/other.example", "active"),
    ("contoso/partner.example", "held"),
    ("fabrikam/partner.example", "deferred"),
]


def test_an_empty_queue(home):
    assert home.call("queue", "list").stdout.startswith("message\tstate\tdestination\t")
    assert home.json("queue", "list") == []


def test_the_list_shows_what_waits_and_why(home):
    ids = home.fill()
    rows = home.table("queue", "list")
    assert [(row["destination"], row["state"]) for row in rows] == WHOLE
    assert rows[0] == {
        "message": ids["ann"],
        "state": "deferred",
        "destination": "contoso/partner.example",
        "sender": "<ann@contoso.example>",
        "recipients": "2",
        "attempts": "0",
        "next attempt": "2026-11-24 14:15:00Z",
        "expires": "2026-11-25 14:00:00Z",
        "last error": "451 4.4.1 later?[31m",
    }
    assert rows[1]["next attempt"] == ""
    assert rows[2]["sender"] == "<>"


# words of the command line -> the rows of WHOLE that are meant
FILTERS = [
    ((), [0, 1, 2, 3]),
    (("--held",), [2]),
    (("--state", "active"), [1]),
    (("--organization", "contoso"), [0, 1, 2]),
    (("--organization", "FABRIKAM"), [3]),
    (("--domain", "partner.example"), [0, 2, 3]),
    (("--domain", "partner.example", "--organization", "contoso"), [0, 2]),
    (("--sender", "ann@contoso.example"), [0, 1]),
    (("--sender", "@fabrikam.example"), [3]),
    (("--recipient", "joe@partner.example"), [0]),
    (("--recipient", "@other.example"), [1]),
    (("--recipient", "nobody@other.example"), []),
    (("--limit", "2"), [0, 1]),
    (("--limit", "0"), [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("words", "meant"), FILTERS, ids=[" ".join(words) for words, _ in FILTERS])
def test_a_part_of_the_queue(home, words, meant):
    home.fill()
    rows = home.table("queue", "list", *words)
    assert [(row["destination"], row["state"]) for row in rows] == [WHOLE[place] for place in meant]


def test_the_list_for_machines(home):
    ids = home.fill()
    first = home.json("queue", "list")[0]
    assert first["message"]["id"] == ids["ann"]
    assert first["message"]["reverse_path"] == "ann@contoso.example"
    del first["message"]
    assert first.pop("next_step").startswith("Nobody has to act yet: ")
    assert first == {
        "must_act": "nobody",
        "held": False,
        "state": "deferred",
        "destination": "contoso/partner.example",
        "recipients": [
            {
                "address": f"{name}@partner.example",
                "notify": "",
                "orcpt": "",
                "delayed": False,
                "held": False,
                "released": False,
                "forwarded_by": "",
                "return_path": "",
                "in_doubt": False,
                "journal": "",
            }
            for name in ("bob", "joe")
        ],
        "attempts": 0,
        "next_at": home.received + 900,
        "expires_at": home.received + 86400,
        "last_error": "451 4.4.1 later\x1b[31m",
        "returned_by": "",
    }


def test_one_message_with_all_that_is_known(home):
    ids = home.fill()
    text = home.call("queue", "show", ids["ann"]).stdout
    step, first, other_step, second, rest = text.split("\n\n")
    assert rest == ""
    assert step.startswith("Nobody has to act yet: the mail system of partner.example could not take this message yet")
    assert other_step == "Nobody has to act: the gateway is delivering this message now."
    assert first.splitlines() == [
        f"message       {ids['ann']}",
        "state         waiting (deferred)",
        "destination   contoso/partner.example",
        "sender        <ann@contoso.example>",
        "recipients    bob@partner.example, joe@partner.example",
        "received      2026-11-24 14:00:00Z",
        "size          25",
        "Message-ID    <1@contoso.example>",
        "session       5e5510",
        "attempts      0",
        "next attempt  2026-11-24 14:15:00Z",
        "expires       2026-11-25 14:00:00Z",
        "last error    451 4.4.1 later?[31m",
    ]
    assert "destination   contoso/other.example" in second
    assert [one["destination"] for one in home.json("queue", "show", ids["ann"].upper())] == [
        "contoso/partner.example",
        "contoso/other.example",
    ]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("ann", b"Subject: hello\r\n\r\nhello\r\n"),
        ("null", b""),
        ("liz", b"Subject: big\r\n\r\n" + b"0123456789\r\n" * 50_000),
    ],
)
def test_the_stored_message_comes_out_as_it_is(home, name, body):
    ids = home.fill()
    result = home.call("queue", "show", ids[name], "--body")
    assert result.stdout_bytes.endswith(b"\n\n" + body)


@pytest.mark.parametrize("words", [(), ("--json",), ("--body",)])
def test_a_message_that_is_not_in_the_queue(home, words):
    home.fill()
    result = home.call("queue", "show", NOBODY, *words, code=1)
    assert result.stdout == ""
    assert result.stderr == (f"{NOBODY} is not in the queue; `gatepost trace show {NOBODY}` says what became of it\n")


@pytest.mark.parametrize("text", ["1", "", "x" * 16, "8" + "0" * 15, "\x1b[31m"])
def test_what_is_no_queue_id_is_wrong_use(home, text):
    if text:
        result = home.call("queue", "show", text, code=2)
        assert result.stdout == ""
        assert "must be a queue id: 16 hexadecimal digits" in result.stderr
        assert "\x1b" not in result.stderr
    for action in ("retry", "hold", "release", "return", "drop"):
        assert "is not a queue id" in home.call("queue", action, text, code=2).stderr


# action and words -> how many deliveries it changes, and the states afterwards
ACTIONS = [
    (("hold", "--all"), 3, ["held", "held", "held", "held"]),
    (("hold", "--domain", "partner.example"), 2, ["held", "active", "held", "held"]),
    (("hold", "ANN"), 2, ["held", "held", "held", "deferred"]),
    (("hold", "ANN", "--domain", "other.example"), 1, ["deferred", "held", "held", "deferred"]),
    (("hold", "ANN", "LIZ"), 3, ["held", "held", "held", "held"]),
    (("release", "--all"), 1, ["deferred", "active", "deferred", "deferred"]),
    (("release", "NULL"), 1, ["deferred", "active", "deferred", "deferred"]),
    (("retry", "--organization", "fabrikam"), 1, ["deferred", "active", "held", "deferred"]),
    (("drop", "--sender", "@fabrikam.example", "--reason", "x"), 1, ["deferred", "active", "held"]),
    (("drop", "--recipient", "joe@partner.example", "--reason", "x"), 1, ["active", "held", "deferred"]),
    (("drop", "--all", "--yes", "--reason", "x"), 4, []),
    (("hold", "--state", "deferred"), 2, ["held", "active", "held", "held"]),
]


@pytest.mark.parametrize(("words", "count", "after"), ACTIONS, ids=[" ".join(words) for words, _, _ in ACTIONS])
def test_actions(home, words, count, after):
    ids = home.fill()
    action, *rest = [ids.get(word.lower(), word) for word in words]
    assert (
        home.call("queue", action, *rest).stdout == f"{action}: {count} {'delivery' if count == 1 else 'deliveries'}\n"
    )
    assert [state for _, state in states(home)] == after


def test_a_retry_is_due_now(home):
    ids = home.fill()
    home.call("queue", "retry", ids["ann"])
    assert home.json("queue", "show", ids["ann"])[0]["next_at"] != home.received + 900


def test_an_action_for_machines_says_what_was_changed_as_it_was(home):
    ids = home.fill()
    changed = home.json("queue", "drop", ids["liz"], "--reason", "x")
    assert [(one["message"]["id"], one["state"]) for one in changed] == [(ids["liz"], "deferred")]


def test_an_action_is_traced_with_its_author(home):
    ids = home.fill()
    home.call("queue", "drop", ids["liz"], "--reason", "x")
    (row,) = home.json("trace", "search", "--event", "drop")
    assert (row["message"], row["recipient"]) == (ids["liz"], "bob@partner.example")
    assert row["detail"]["author"]


@pytest.mark.parametrize("action", ["retry", "hold", "release", "return", "drop"])
def test_an_action_must_be_told_which_mail_it_means(home, action):
    home.fill()
    result = home.call("queue", action, code=2)
    assert result.stderr.startswith(f"ID: choose the mail to {action}\n")
    named = re.findall(r"--[a-z]+", result.stderr)
    assert {"--domain", "--sender", "--recipient", "--organization", "--state", "--all"} <= set(named)
    usage = home.call("queue", action, "--help").stdout
    assert [option for option in named if f"{option} " not in usage] == []
    assert states(home) == WHOLE


@pytest.mark.parametrize(
    "words",
    [
        ("hold", NOBODY),
        ("release", "--organization", "fabrikam"),
        ("drop", "--domain", "nowhere.example", "--reason", "x"),
    ],
)
def test_an_action_that_meets_nothing_says_no(home, words):
    home.fill()
    assert home.call("queue", *words, code=1).stdout == f"{words[0]}: 0 deliveries\n"
    assert home.json("queue", *words, code=1) == []
    assert states(home) == WHOLE


def test_one_wrong_id_among_right_ones_changes_nothing(home):
    ids = home.fill()
    result = home.call("queue", "drop", ids["ann"], "nonsense", ids["liz"], "--reason", "x", code=2)
    assert result.stdout == ""
    assert states(home) == WHOLE


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("show", "ANN"),
        ("show", "ANN", "--body"),
        ("hold", "--all"),
        ("drop", "--all", "--yes", "--json", "--reason", "x"),
    ],
)
def test_a_queue_that_cannot_be_read_is_not_known(home, words):
    ids = home.fill()
    (home.data / "queue" / "0" / QUEUE_FILE).write_bytes(b"no database, but long enough to be read as one " * 400)
    result = home.call("queue", *[ids.get(word.lower(), word) for word in words], code=3)
    assert result.stdout == ""
    assert str(home.data / "queue" / "0") in result.stderr


def test_a_body_that_has_just_left_is_said(home):
    ids = home.fill()
    for file in (home.data / "queue" / "1" / "big").iterdir():
        file.unlink()
    result = home.call("queue", "show", ids["liz"], "--body", code=1)
    assert result.stderr == "the message has just left the queue\n"


def test_the_whole_message_goes_through_a_pipe(home):
    ids = home.fill()
    argv = [sys.executable, "-m", "gatepost", "--config", str(home.file), "queue", "show", ids["liz"], "--body"]
    done = subprocess.run(argv, capture_output=True, check=True)
    assert done.stdout.endswith(b"0123456789\r\n" * 50_000)


def test_show_says_who_holds_a_message(home):
    ids = home.fill()
    assert "why held      by an administrator" in home.call("queue", "show", ids["null"]).stdout
    assert "why held" not in home.call("queue", "show", ids["liz"]).stdout
    connection = apsw.Connection(str(home.data / "queue" / "1" / QUEUE_FILE))
    recipients = '[{"address":"bob@partner.example","held":true}]'
    connection.execute("UPDATE delivery SET recipients = ?", (recipients,))
    connection.close()
    assert "its destination protects less than it did" in home.call("queue", "show", ids["liz"]).stdout
    assert len(home.table("queue", "list", "--held")) == 2
    assert home.call("queue", "release", ids["liz"]).stdout == "release: 1 delivery\n"
    (row,) = home.json("queue", "show", ids["liz"])
    assert row["state"] == "deferred"
    assert row["recipients"][0]["released"] is True


def test_mail_is_returned_with_words_for_its_sender_and_a_reason_for_the_record(home):
    home.fill()
    words = ("queue", "return", "--sender", "@fabrikam.example")
    assert home.call(*words, "--dry-run").stdout == "return: 1 delivery (dry run)\n"
    assert home.json("trace", "search", "--event", "return", code=1) == []
    assert home.call(*words, "--text", "Closed", "--reason", "ticket 7").stdout == "return: 1 delivery\n"
    assert home.call(*words, code=1).stdout == "return: 0 deliveries\n", "it is on its way"
    (row,) = home.json("trace", "search", "--event", "return")
    assert (row["detail"]["text"], row["detail"]["why"]) == ("Closed", "ticket 7")
    wrong = home.call("queue", "return", "--all", "--text", "a\nb", code=2)
    assert "--text: is one line of printable ASCII characters" in wrong.stderr
    assert home.json("trace", "search", "--event", "return") == [row]


def test_nothing_is_dropped_without_a_reason(home):
    home.fill()
    assert "--reason: give a reason" in home.call("queue", "drop", "--all", code=2).stderr
    assert states(home) == WHOLE
    assert home.call("queue", "drop", "--all", "--dry-run").stdout == "drop: 4 deliveries (dry run)\n"


@pytest.mark.parametrize("words", [("drop", "--all", "--reason", "x"), ("return", "--all")])
def test_what_ends_all_mail_asks_first(home, monkeypatch, words):
    home.fill()
    refused = home.call("queue", *words, code=2)
    assert (
        f"{words[0]} --all would end 4 deliveries of 3 messages: add --yes, or --dry-run to see them" in refused.stderr
    )
    monkeypatch.setattr("gatepost.manage.cli.queue._is_answered", lambda: True)
    for answer in ("n\n", "\n"):
        said = home.call("queue", *words, given=answer, code=1)
        assert "4 deliveries" in said.stderr
        assert "nothing was done" in said.stderr
    assert states(home) == WHOLE
    assert home.call("queue", *words, given="y\n").stdout == f"{words[0]}: 4 deliveries\n"


def test_nothing_is_asked_where_there_is_nothing(home):
    assert home.call("queue", "drop", "--all", "--reason", "x", code=1).stdout == "drop: 0 deliveries\n"


def test_what_can_be_undone_asks_nothing(home):
    home.fill()
    assert home.call("queue", "retry", "--all").stdout.startswith("retry: ")
    assert "--yes" not in home.call("queue", "retry", "--help").stdout


def test_an_action_and_a_refused_one_are_in_the_audit(home):
    ids = home.fill()
    home.call("queue", "drop", ids["liz"], code=2)
    home.call("queue", "drop", ids["liz"], "--reason", "a loop")
    home.call("queue", "show", ids["ann"], "--body")
    rows = [(row["action"], row["subject"], row["outcome"]) for row in home.json("audit")][:3]
    assert rows == [
        ("queue-content", ids["ann"], "done"),
        ("queue-drop", ids["liz"], "done"),
        ("queue-drop", ids["liz"], "refused"),
    ]
