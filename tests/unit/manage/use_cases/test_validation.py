from __future__ import annotations

import asyncio
import threading

import pytest

from gatepost.analysis.checks.tasks import CheckResult, TaskStatus
from gatepost.analysis.checks.validation import validation_record
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.name_lookup import choose_connector
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.validation import (
    MOST_PEM,
    CancelToken,
    ValidationCancelled,
    ValidationOptions,
    check_options,
    keep_validation,
    last_validation,
    validate,
)

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
    apply_document(gateway, OWNER, {"organization": BASE}, ChangeOptions("ann"))
    return gateway


def tried(gateway, name, trial=None, course=None):
    directory = gateway.directory()
    chosen = choose_connector(directory.resources, name)
    return chosen, validate(gateway, directory, chosen, trial or ValidationOptions(), course)


def test_a_host_that_nobody_listens_on_fails_in_its_task_and_is_told(base):
    told = []
    _, validation = tried(base, "bank-out", course=CancelToken(told.append))
    assert validation.outcome is CheckResult.NOT_VALIDATED
    running = [task.name for one in told for _, task in one.all_tasks if task.status is TaskStatus.RUNNING]
    assert running == ["Resolve", "Connect"]
    assert told[-1].hosts[0].failed.name == "Connect"
    assert {one.outcome for one in told} == {CheckResult.UNKNOWN}, "while it goes on"


def test_an_inbound_connector_is_held_against_what_was_seen(base):
    told = []
    _, validation = tried(base, "bank-in", course=CancelToken(told.append))
    assert [[task.name for _, task in one.all_tasks] for one in told] == [["Seen"]]
    assert [task.name for task in validation.tasks]


def test_a_session_that_might_come_is_decided(base):
    trial, told = (
        ValidationOptions(ip="192.0.2.1", reverse_path="eve@bank.example", forward_path="ann@contoso.example"),
        [],
    )
    _, validation = tried(base, "bank-in", trial, CancelToken(told.append))
    assert [[task.name for _, task in one.all_tasks] for one in told] == [["Presented", "Seen"], ["Seen"]]
    assert any("192.0.2.1" in task.detail for task in validation.tasks)


@pytest.mark.parametrize(
    ("name", "trial", "field", "said"),
    [
        ("wild", ValidationOptions(), "recipients", "names no single domain"),
        (
            "bank-out",
            ValidationOptions(("bob@elsewhere.example",)),
            "recipients",
            "is not a domain of connector 'bank-out'",
        ),
        ("bank-in", ValidationOptions(session="feed"), "session", "the message trace has no message or session feed"),
        ("bank-in", ValidationOptions(ip="nowhere", reverse_path=""), "ip", "is not an IP address"),
    ],
)
def test_what_cannot_be_tried_is_refused(base, name, trial, field, said):
    with pytest.raises(Refusal) as refused:
        tried(base, name, trial)
    ((path, message),) = [(error.path, error.message) for error in refused.value.errors]
    assert path == field
    assert said in message


@pytest.mark.parametrize(
    ("name", "trial", "fields"),
    [
        ("bank-out", ValidationOptions(("bob@bank.example",), "me@contoso.example"), []),
        (
            "bank-out",
            ValidationOptions(certificate=b"x", reverse_path="", forward_path="b"),
            ["certificate", "reverse_path", "forward_path"],
        ),
        ("bank-in", ValidationOptions(("bob@bank.example",), "me"), ["recipients", "sender"]),
        ("bank-in", ValidationOptions(session="5e55"), []),
        ("bank-in", ValidationOptions(session="5e55", certificate=b"x"), ["ip", "reverse_path"]),
        ("bank-in", ValidationOptions(ip="192.0.2.1", reverse_path="<>"), []),
        (
            "bank-in",
            ValidationOptions(ip="192.0.2.1", reverse_path="<>", certificate=b"x" * (MOST_PEM + 1)),
            ["certificate"],
        ),
    ],
)
def test_a_trial_fits_the_connector(base, name, trial, fields):
    chosen = choose_connector(base.directory().resources, name)
    if not fields:
        check_options(chosen, trial)
        return
    with pytest.raises(Refusal) as refused:
        check_options(chosen, trial)
    assert [error.path for error in refused.value.errors] == fields


def test_the_result_is_kept_for_lists(base):
    chosen, validation = tried(base, "bank-out")
    assert last_validation(base, chosen) is None
    assert keep_validation(base, chosen, validation_record(validation)) == ""
    assert last_validation(base, chosen)["outcome"] == "not-validated"


def test_that_it_could_not_be_kept_is_said_and_why_is_in_the_log(base, caplog):
    chosen, validation = tried(base, "bank-out")
    (base.data / "validations").write_text("in the way")
    said = keep_validation(base, chosen, validation_record(validation))
    assert said == "the result cannot be kept for lists; the gateway's log says why"
    assert str(base.data) in caplog.text


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
    waiting = Waiting(CancelToken())
    thread = threading.Thread(target=waiting.run)
    thread.start()
    assert waiting.begun.wait(30)
    waiting.course.stop()
    thread.join(30)
    assert isinstance(waiting.ended, ValidationCancelled)


def test_a_course_that_was_stopped_does_not_begin():
    waiting = Waiting(CancelToken())
    waiting.course.stop()
    waiting.run()
    assert isinstance(waiting.ended, ValidationCancelled)
    assert not waiting.begun.is_set()


def test_a_course_has_an_end():
    waiting = Waiting(CancelToken(seconds=0.01))
    waiting.run()
    assert isinstance(waiting.ended, ValidationCancelled)


def test_what_is_cancelled_by_another_is_no_stop():
    async def cancelled():
        async with CancelToken().running():
            asyncio.current_task().cancel()
            await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
