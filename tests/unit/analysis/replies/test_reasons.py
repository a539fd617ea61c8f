from __future__ import annotations

import pytest

from gatepost.analysis.replies.catalogue import markdown
from gatepost.analysis.replies.reasons import CHAINS, DISPOSITIONS, POLICIES, RESULT_TYPES
from gatepost.mail.model.delivery_result import Disposition
from gatepost.protocols.mtasts.policy import Reason
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.protocols.tlsrpt.result import ResultType

TABLES = {ResultType: RESULT_TYPES, ChainStatus: CHAINS, Reason: POLICIES, Disposition: DISPOSITIONS}


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_every_member_has_a_cause_and_a_cure(kind):
    assert list(TABLES[kind]) == list(kind)
    assert all(cause.endswith(".") and cure.endswith(".") for cause, cure in TABLES[kind].values())
    assert all(f"| `{member}` | {TABLES[kind][member][0]} |" in markdown() for member in kind)
