from __future__ import annotations

from typing import get_args

from gatepost.protocols.smtp.client import client_events
from gatepost.protocols.smtp.client.client_events import ClientEvent


def test_the_union_names_every_event_and_the_client_module_offers_them() -> None:
    members = {member.__name__ for member in get_args(ClientEvent.__value__)}
    defined = {
        name
        for name, found in vars(client_events).items()
        if getattr(found, "__module__", "") == client_events.__name__
    }
    assert members == defined - {"ClientEvent"}


def test_events_are_plain_values() -> None:
    assert client_events.BodyWanted() == client_events.BodyWanted()
    assert not hasattr(client_events.BodyWanted(), "__dict__")
