from __future__ import annotations

import pytest

from gatepost.analysis.rehearsal.verdicts import ConnectorKey, Verdicts, count_verdicts
from gatepost.store.trace import HopKind

IN = ConnectorKey("contoso", "inbound", "bank")
OUT = ConnectorKey("contoso", "outbound", "bank")


def kind(event, **fields):
    usual = dict.fromkeys(HopKind._fields, "") | {"organization": "contoso", "connector": "bank"}
    return HopKind(**{**usual, "event": event, **fields})


CASES = {
    "received": (kind("RECEIVE"), {IN: Verdicts(3, 0)}),
    "sent": (kind("SEND"), {OUT: Verdicts(3, 0)}),
    "refused by the connector": (kind("REFUSE", status="5.7.0"), {IN: Verdicts(0, 3)}),
    "refused for another reason": (kind("REFUSE", status="5.1.1"), {}),
    "held for TLS": (kind("HOLD", result_type="certificate-expired"), {OUT: Verdicts(0, 3)}),
    "deferred by the other side": (kind("DEFER"), {}),
    "released": (kind("RELEASE"), {}),
    "by no connector": (kind("SEND", connector=""), {}),
    "would have been refused": (kind("RECEIVE", trial_failed_by="bank"), {IN: Verdicts(0, 3, 3, 3)}),
    "would have been held": (kind("SEND", trial_failed_by="bank"), {OUT: Verdicts(0, 3, 3, 3)}),
    "would have been refused by another": (
        kind("RECEIVE", trial_failed_by="new"),
        {IN: Verdicts(3, 0), IN._replace(name="new"): Verdicts(0, 3, 3, 3)},
    ),
    "would have been refused by the only one": (
        kind("RECEIVE", connector="", trial_failed_by="new"),
        {IN._replace(name="new"): Verdicts(0, 3, 3, 3)},
    ),
}


@pytest.mark.parametrize(("one", "found"), CASES.values(), ids=CASES)
def test_a_row_is_judged_by_its_connector(one, found):
    assert count_verdicts({one: 3}) == found


def test_rows_add_up():
    counted = count_verdicts({kind("SEND"): 3, kind("SEND", host="b"): 4, kind("FAIL", result_type="x"): 2})
    assert counted == {OUT: Verdicts(7, 2)}


def test_what_was_refused_in_rehearsal_was_not_refused():
    tried = {kind("SEND", trial_failed_by="bank"): 3, kind("DEFER", trial_failed_by="bank"): 2}
    counted = count_verdicts(tried | {kind("SEND"): 4, kind("HOLD", result_type="x"): 1})
    assert counted == {OUT: Verdicts(4, 6, 5, 3)}
    assert counted[OUT].in_mode("enforce") == Verdicts(7, 1)
    assert counted[OUT].in_mode("rehearse") == counted[OUT]
