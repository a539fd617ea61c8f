"""What takes long gives from afar what it gives on the gateway's machine."""

from __future__ import annotations

import pytest

from gatepost.manage.use_cases.jobs import follow
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.rehearsal import RehearsalQuestion, show_rehearsal
from gatepost.manage.use_cases.trials import TryHook, try_hook
from gatepost.manage.use_cases.validation_runs import (
    ShowValidation,
    ValidateConnector,
    show_validation,
    start_validation,
)

CLIENT = {"ip": "192.0.2.1", "reverse_path": "", "forward_path": "ann@contoso.example"}


def validated(client, **fields):
    request = ValidateConnector(organization="contoso", connector="bank in", since="2026-01-01", wait=0.0, **fields)

    def show(identity):
        return client.call(show_validation, ShowValidation(organization="contoso", id=identity))

    return follow(client.call(start_validation, request).value, show).record


@pytest.mark.parametrize("fields", [{"direction": "inbound"}, CLIENT])
def test_a_validation_is_the_same(remote, local, fields):
    assert {**validated(remote, **fields), "at": 0} == {**validated(local, **fields), "at": 0}


@pytest.mark.parametrize(
    ("fields", "paths"),
    [({"recipients": ["bob@bank.example"]}, ["recipients"]), ({"session": "feed"}, ["session"])],
)
def test_what_cannot_be_tried_is_refused_alike(remote, local, fields, paths):
    for client in (remote, local):
        with pytest.raises(Refusal) as refused:
            validated(client, **fields)
        assert (refused.value.kind, [error.path for error in refused.value.errors]) == (RefusalKind.INPUT, paths)


def test_what_a_connector_did_is_the_same(remote, local):
    request = RehearsalQuestion(name="bank in", since="2026-01-01")
    reports = [client.call(show_rehearsal, request) for client in (remote, local)]
    assert reports[0].since == reports[1].since
    assert (reports[0].label, reports[0].groups, reports[0].peers, reports[0].conclusion) == (
        reports[1].label,
        reports[1].groups,
        reports[1].peers,
        reports[1].conclusion,
    )


def test_octets_of_a_message_arrive_as_they_are(remote, there, monkeypatch):
    taken = []

    async def tried(_, __, message):
        taken.append(message)
        return []

    with there.api.gateway.config() as store:
        _, stored = store.load("organization")
        contoso = stored["organization"]["contoso"]
        contoso["content_hook"] = [{"name": "av", "type": "clamav", "address": "127.0.0.1:1"}]
        store.apply({"organization": {"contoso": contoso}}, author="root")
    monkeypatch.setattr("gatepost.manage.use_cases.trials._hook_tried", tried)
    message = bytes(range(256))
    remote.call(try_hook, TryHook(organization="contoso", hook="AV", message=message))
    remote.call(try_hook, TryHook(organization="contoso", hook="AV", message=b""))
    assert taken == [message, b""]


def test_one_that_does_not_end_is_given_up():
    class Never:
        id, done = "x", False

    with pytest.raises(Refusal, match="does not end") as refused:
        follow(Never(), lambda _: Never(), seconds=0.0)
    assert refused.value.kind is RefusalKind.UNREADABLE
