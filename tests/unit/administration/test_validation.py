from __future__ import annotations

import asyncio
import threading

import pytest

from gatepost.access.principal import Principal, Scope
from gatepost.administration.change import Wish
from gatepost.administration.choice import choose_connector
from gatepost.administration.refusal import Refusal
from gatepost.administration.resources import apply_document
from gatepost.administration.validation import (
    Course,
    Stopped,
    Trial,
    keep_validation,
    last_validation,
    validate,
    validation_record,
)
from gatepost.checks.tasks import Outcome

OWNER = Principal("ann", frozenset({Scope.OWNER}))
BASE = {
    "contoso": {
        "accepted_domain": [{"name": "contoso.example"}],
        "inbound_connector": [{"name": "bank-in", "sender_domains": ["bank.example"]}],
        "outbound_connector": [
            {"name": "bank-out", "recipient_domains": ["bank.example"], "smart_hosts": ["127.0.0.1:1"]},
            {"name": "wild", "recipient_domains": ["*.bank.example"]},
        ],
    },
}


@pytest.fixture
def base(gateway):
    apply_document(gateway, OWNER, {"organization": BASE}, Wish("ann"))
    return gateway


def tried(gateway, name, trial=None, course=None):
    directory = gateway.directory()
    chosen = choose_connector(directory.resources, name)
    return chosen, validate(gateway, directory, chosen, trial or Trial(), course)


def test_a_host_that_nobody_listens_on_fails_in_its_task_and_is_told(base):
    said, found = [], []
    _, validation = tried(base, "bank-out", course=Course(said.append, found.append))
    assert validation.outcome is Outcome.NOT_VALIDATED
    assert said == ["trying 127.0.0.1"]
    assert [report.failed.name for report in found] == ["Connect"]


def test_an_inbound_connector_is_held_against_what_was_seen(base):
    said = []
    _, validation = tried(base, "bank-in", course=Course(said.append))
    assert said == ["looking at mail that was seen"]
    assert [task.name for task in validation.tasks]


def test_a_session_that_might_come_is_decided(base):
    trial = Trial(ip="192.0.2.1", reverse_path="eve@bank.example", forward_path="ann@contoso.example")
    _, validation = tried(base, "bank-in", trial)
    assert any("192.0.2.1" in task.detail for task in validation.tasks)


@pytest.mark.parametrize(
    ("name", "trial", "said"),
    [
        ("wild", Trial(), "names no single domain"),
        ("bank-out", Trial(("bob@elsewhere.example",)), "is no domain of connector 'bank-out'"),
        ("bank-in", Trial(session="feed"), "nothing in the trace has the id feed"),
        ("bank-in", Trial(ip="nowhere", reverse_path=""), "is no IP address"),
    ],
)
def test_what_cannot_be_tried_is_refused(base, name, trial, said):
    with pytest.raises(Refusal, match=said):
        tried(base, name, trial)


def test_the_result_is_kept_for_lists(base):
    chosen, validation = tried(base, "bank-out")
    assert last_validation(base, chosen) is None
    assert keep_validation(base, chosen, validation_record(validation)) == ""
    assert last_validation(base, chosen)["outcome"] == "not-validated"


def test_why_it_could_not_be_kept_is_said(base):
    chosen, validation = tried(base, "bank-out")
    (base.data / "validations").write_text("in the way")
    assert keep_validation(base, chosen, validation_record(validation)).startswith("the result cannot be kept")


class Waiting:
    """Something that a course runs around."""

    def __init__(self, course):
        self.course = course
        self.begun = threading.Event()
        self.ended = None

    def run(self):
        async def wait():
            async with self.course.running():
                self.begun.set()
                await asyncio.sleep(60)

        try:
            asyncio.run(wait())
        except BaseException as error:  # noqa: BLE001 - what ended it is what is asked
            self.ended = error


def test_a_course_is_stopped_from_another_thread():
    waiting = Waiting(Course())
    thread = threading.Thread(target=waiting.run)
    thread.start()
    assert waiting.begun.wait(30)
    waiting.course.stop()
    thread.join(30)
    assert isinstance(waiting.ended, Stopped)


def test_a_course_that_was_stopped_does_not_begin():
    waiting = Waiting(Course())
    waiting.course.stop()
    waiting.run()
    assert isinstance(waiting.ended, Stopped)
    assert not waiting.begun.is_set()


def test_a_course_has_an_end():
    waiting = Waiting(Course(seconds=0.01))
    waiting.run()
    assert isinstance(waiting.ended, Stopped)


def test_what_is_cancelled_by_another_is_no_stop():
    async def cancelled():
        async with Course().running():
            asyncio.current_task().cancel()
            await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
