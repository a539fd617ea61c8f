from __future__ import annotations

from typing import get_args

from gatepost.smtp import client, client_events
from gatepost.smtp.client_events import ClientEvent


def test_the_union_names_every_event_and_the_client_module_offers_them() -> None:
    members = {member.__name__ for member in get_args(ClientEvent.__value__)}
    assert members | {"ClientEvent"} == set(client_events.__all__)
    assert set(client_events.__all__) < set(client.__all__)


def test_events_are_plain_values() -> None:
    assert client_events.BodyWanted() == client_events.BodyWanted()
    assert not hasattr(client_events.BodyWanted(), "__dict__")
