from __future__ import annotations

import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.store.interface import MessageUnstorable, StoreBusy, StoreFailure, StoreFull, failing


def message(**facts):
    return Message(1, "contoso", 1.0, "bob@contoso.example", **facts)


@pytest.mark.parametrize(
    ("facts", "true"),
    [
        ({}, set()),
        ({"direction": "originating"}, {"from_on_premises"}),
        ({"direction": "originating", "inbound": {"user": "ann"}}, set()),
        ({"direction": "originating", "inbound": {"notice_about": "1"}}, {"is_notice"}),
        ({"inbound": {"notice_about": "1", "tls_report": "x"}}, {"is_notice", "is_tls_report"}),
        ({"inbound": {"internal": True}}, {"is_internal"}),
        ({"inbound": {"internal": False}}, set()),
        ({"inbound": {"headers": {}}}, set()),
        ({"inbound": {"headers": {"renamed": 0}}}, {"has_organization_headers"}),
    ],
)
def test_what_a_message_is(facts, true):
    names = ("is_notice", "is_tls_report", "from_on_premises", "is_internal", "has_organization_headers")
    assert {name for name in names if getattr(message(**facts), name)} == true


@pytest.mark.parametrize(("destination", "name"), [("contoso/b.example", "contoso"), ("/b.example", ""), ("", "")])
def test_whose_a_delivery_is(destination, name):
    assert Delivery(2, message(), destination, [Recipient("ann@b.example")]).organization == name


@pytest.mark.parametrize(
    ("kind", "final", "reply"),
    [
        (StoreFailure, True, "451 4.3.0"),
        (StoreFull, False, "452 4.3.1"),
        (StoreBusy, False, "451 4.3.0"),
        (MessageUnstorable, False, "451 4.3.0"),
    ],
)
def test_only_a_failure_of_the_store_itself_is_final(kind, final, reply):
    assert (kind.final, kind.reply.text.startswith(reply)) == (final, True)


def test_what_everybody_may_be_told_of_a_failure():
    assert StoreBusy("db1 refuses").summary == "the store cannot be written"
    assert StoreFull("x").summary == "the disk of the store is full"
    away = StoreBusy("db1 refuses", summary="PostgreSQL cannot be reached")
    assert (str(away), away.summary) == ("db1 refuses", "PostgreSQL cannot be reached")


def test_an_error_of_a_place_is_a_failure_that_names_it():
    with (
        pytest.raises(StoreFailure, match=r"^/data/q: No space left on device$") as caught,
        failing("/data/q", OSError),
    ):
        raise OSError(28, "No space left on device", "q.db")
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(StoreFailure, match=r"^q\.db: no number$"), failing("q.db", OSError, ValueError):
        raise ValueError("no number")
    with pytest.raises(KeyError), failing("q.db", OSError):
        raise KeyError
    with failing("q.db", OSError):
        pass
