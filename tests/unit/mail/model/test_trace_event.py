from __future__ import annotations

import msgspec
import pytest

from gatepost.mail.model.trace_event import TraceEvent


def test_a_row_says_when_what_and_of_which_message():
    required = [field.name for field in msgspec.structs.fields(TraceEvent) if field.required]
    assert required[:3] == ["at", "event", "message"]
    with pytest.raises(TypeError, match="message"):
        TraceEvent(1.0, "RECEIVE")
