from __future__ import annotations

import pytest

from gatepost.mail.model.delivery_result import Sort, sort_of
from gatepost.protocols.smtp.replies import Reply


@pytest.mark.parametrize(
    ("code", "sort"), [(250, Sort.DELIVERED), (252, Sort.DELIVERED), (421, Sort.DEFERRED), (550, Sort.FAILED)]
)
def test_what_a_reply_means(code, sort):
    assert sort_of(Reply(code, "", ("text",))) is sort
