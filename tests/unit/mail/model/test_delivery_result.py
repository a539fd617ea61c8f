from __future__ import annotations

import pytest

from gatepost.mail.model.delivery_result import Disposition, disposition_of
from gatepost.protocols.smtp.replies import Reply


@pytest.mark.parametrize(
    ("code", "disposition"),
    [
        (250, Disposition.DELIVERED),
        (252, Disposition.DELIVERED),
        (421, Disposition.DEFERRED),
        (550, Disposition.FAILED),
    ],
)
def test_what_a_reply_means(code, disposition):
    assert disposition_of(Reply(code, "", ("text",))) is disposition
