from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from starlette.exceptions import HTTPException

from gatepost.access.principal import ROLES, Principal, Role
from gatepost.admin import trials
from gatepost.admin.trials import Subject, followed, meant, waited
from gatepost.administration.refusal import Kind, Refusal
from gatepost.administration.validation import Stopped, Trial
from gatepost.checks.validation import Validation

ANN = Principal("ann", ROLES[Role.ADMINISTRATOR])
CHOSEN = SimpleNamespace(organization=SimpleNamespace(name="contoso"), label="outbound connector 'x' of contoso")
VALIDATION = Validation("contoso", "x", "outbound", 1.0, 1)


class Deeds:
    def __init__(self):
        self.found = []

    def record(self, by, action, **more):
        self.found.append((by.name, action, more))


def asked(principal=ANN, csrf="", header=""):
    state = SimpleNamespace(principal=principal, csrf=csrf)
    app = SimpleNamespace(state=SimpleNamespace(gateway=object(), accounts=Deeds()))
    headers = {"x-csrf-token": header} if header else {}
    return SimpleNamespace(state=state, app=app, headers=headers, scope={"client": ("192.0.2.1", 5)})


def subject(keep=lambda _: "", *, draft=False):
    return Subject(None, CHOSEN, Trial(), keep, draft)


@pytest.fixture
def validate(monkeypatch):
    """What is done in place of trying a connector."""

    def set_(done):
        monkeypatch.setattr(trials, "validate", lambda *given: done(given[-1]))

    return set_


@pytest.mark.parametrize(
    ("csrf", "header", "fits"),
    [("", "", True), ("a", "a", True), ("a", "b", False), ("a", "", False), ("a", "é", False)],
)
def test_only_our_own_pages_begin_one(csrf, header, fits):
    if fits:
        meant(asked(csrf=csrf, header=header))
        return
    with pytest.raises(HTTPException) as refused:
        meant(asked(csrf=csrf, header=header))
    assert refused.value.status_code == 403


def test_what_came_of_it_is_kept_and_on_record(validate):
    validate(lambda _: VALIDATION)
    request, kept = asked(), []

    def keep(record):
        kept.append(record)
        return "the disk is full"

    record = waited(request, subject(keep, draft=True))
    assert kept == [record]
    assert record["notes"] == ["the disk is full"]
    ((who, action, more),) = request.app.state.accounts.found
    assert (who, action, more["organization"]) == ("ann", "connector.validate", "contoso")
    assert more["detail"] == {"outcome": "validated", "draft": True}


def test_one_that_takes_too_long_is_said_to(validate):
    def late(_):
        raise Stopped

    validate(late)
    with pytest.raises(Refusal, match="not done after 180 seconds"):
        waited(asked(), subject())


def test_there_are_few_at_a_time(validate):
    running, go = threading.Semaphore(0), threading.Event()

    def slow(_):
        running.release()
        assert go.wait(30)
        return VALIDATION

    validate(slow)
    names = ["ann", "ann", "bob", "bob"]
    threads = [threading.Thread(target=waited, args=(asked(Principal(name, ANN.scopes)), subject())) for name in names]
    for thread in threads:
        thread.start()
    for _ in names:
        assert running.acquire(timeout=30)
    for name in ("ann", "carl"):
        with pytest.raises(Refusal) as refused:
            waited(asked(Principal(name, ANN.scopes)), subject())
        assert refused.value.kind is Kind.CONFLICT
    go.set()
    for thread in threads:
        thread.join(30)
    assert waited(asked(), subject())["outcome"] == "validated", "and then there is room again"


def read(response, most=None):
    """The events of a stream, or the first of them: then whoever follows goes away."""

    async def parts():
        found = []
        async for part in response.body_iterator:
            found.append(part.decode())
            if len(found) == most:
                break
        await response.body_iterator.aclose()
        return found

    return parts()


@pytest.fixture
def shown(monkeypatch):
    """Events have the titles of the tasks in place of a page's part."""
    monkeypatch.setattr(trials, "fragment", lambda *_, tasks: " ".join(task["title"] for task in tasks))


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (VALIDATION, "Validated: all 0 tasks succeeded"),
        (Refusal(Kind.INPUT, "name a recipient"), "Name a recipient"),
        (Stopped(), "It was not done after 180 seconds"),
        (LookupError("a secret"), "Something went wrong here"),
    ],
)
@pytest.mark.usefixtures("shown")
def test_a_stream_ends_with_what_came_of_it(validate, ends, said):
    def done(_):
        if isinstance(ends, Exception):
            raise ends
        return ends

    validate(done)

    async def run():
        return await read(followed(asked(), subject()))

    found = asyncio.run(run())
    assert found[0].startswith("data: Resolve Connect EHLO")
    assert said in found[-2]
    assert "a secret" not in "".join(found)
    assert found[-1] == "event: done\ndata: \n\n"


@pytest.mark.usefixtures("shown")
def test_it_is_stopped_when_who_follows_it_has_gone(validate, monkeypatch):
    stopped = threading.Event()
    monkeypatch.setattr(trials.Course, "stop", lambda _: stopped.set())
    ended = []

    def slow(course):
        course.progress("trying mx")
        ended.append(stopped.wait(30))
        raise Stopped

    validate(slow)

    async def run():
        return await read(followed(asked(), subject()), 2)

    assert len(asyncio.run(run())) == 2
    (thread,) = [one for one in threading.enumerate() if one.name == "validation"] or [threading.current_thread()]
    if thread is not threading.current_thread():
        thread.join(30)
    assert ended == [True]


@pytest.mark.usefixtures("shown")
def test_a_silent_stream_says_that_it_is_there(validate, monkeypatch):
    monkeypatch.setattr(trials, "_PULSE", 0.01)
    go = threading.Event()

    def slow(course):
        course.progress("trying mx")
        assert go.wait(30)
        return VALIDATION

    validate(slow)

    async def run():
        found = []
        async for part in followed(asked(), subject()).body_iterator:
            found.append(part)
            if part.startswith(b":"):
                go.set()
        return found

    found = asyncio.run(run())
    assert b": still running\n\n" in found
