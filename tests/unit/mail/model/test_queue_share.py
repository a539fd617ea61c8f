from __future__ import annotations

import msgspec
import pytest

from gatepost.mail.model.queue_share import QueueShare


def test_what_was_counted_is_a_value_of_its_own() -> None:
    """A worker finds it on one thread and alarms read it on another."""
    share = QueueShare("contoso", 3 << 20, 0.75)
    assert msgspec.structs.asdict(share) == {"organization": "contoso", "octets": 3 << 20, "part": 0.75}
    with pytest.raises(AttributeError):
        share.octets = 0  # type: ignore[misc]
    assert share == QueueShare("contoso", 3 << 20, 0.75)
