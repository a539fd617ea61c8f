"""What a sender's view of our own policy means; over real sockets in `tests/system/test_mta_sts_served.py`."""

from __future__ import annotations

from typing import Any

import pytest

from gatepost.analysis.checks.own_policy import Seen, judge
from gatepost.analysis.checks.partner_report import Finding, Mark, Stage
from gatepost.net.lookups.mtasts import StsFailure
from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.mtasts.publish import StsPublication, publish
from gatepost.protocols.mtasts.record import StsRecord
from gatepost.protocols.tlsrpt import record as tlsrpt
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

MX = "mx1.contoso.example"
OURS = publish("contoso.example", StsMode.ENFORCE, [MX], 604800)
GOOD = Seen("contoso.example", OURS.record, OURS.policy, (MX,), tlsrpt.TlsRptRecord(("mailto:r@contoso.example",)))
DEAD = "no answer in time"


def failed(kind: ResultType) -> StsFailure:
    return StsFailure(kind, "the reason")


def found(change: dict[str, Any], publication: StsPublication | None = OURS) -> list[Finding]:
    """What is more than a pass."""
    return [one for one in judge(publication, replace(GOOD, **change)) if one.verdict is not Mark.PASS]


def test_what_is_in_order_passes_at_every_stage() -> None:
    assert found({}) == []
    assert [one.stage for one in judge(OURS, GOOD)] == [Stage.MTA_STS, Stage.DNS, Stage.MTA_STS, Stage.TLS_RPT]


@pytest.mark.parametrize(
    ("change", "verdict", "text"),
    [
        ({"record": None}, Mark.FAIL, "the DNS announces no policy"),
        ({"record": RecordError("two of them")}, Mark.FAIL, "the TXT record cannot be used"),
        ({"record": StsRecord("20261124")}, Mark.FAIL, "the TXT record has the id of another policy"),
        ({"record": DEAD}, Mark.UNKNOWN, "it is not known whether the DNS announces a policy"),
        ({"policy": failed(ResultType.STS_WEBPKI_INVALID)}, Mark.FAIL, "senders cannot fetch the policy"),
        ({"policy": failed(ResultType.STS_POLICY_INVALID)}, Mark.FAIL, "senders cannot fetch the policy"),
        ({"policy": failed(ResultType.STS_POLICY_FETCH_ERROR)}, Mark.FAIL, "senders cannot fetch the policy"),
        ({"policy": StsPolicy(StsMode.TESTING, (MX,), 604800)}, Mark.FAIL, "the served policy is not the policy"),
        ({"hosts": ("mx2.contoso.example", MX)}, Mark.FAIL, "the MX host mx2.contoso.example is not delivered to"),
        ({"hosts": ()}, Mark.WARN, "the DNS names no mail host for"),
        ({"hosts": DEAD}, Mark.UNKNOWN, "the MX records cannot be looked up"),
        ({"reports": None}, Mark.INFO, "no TLS-RPT record: senders report"),
        ({"reports": RecordError("no rua")}, Mark.WARN, "the TLS-RPT record cannot be used"),
        ({"reports": DEAD}, Mark.UNKNOWN, "it is not known whether there is a TLS-RPT record"),
    ],
)
def test_what_falls_short(change: dict[str, Any], verdict: Mark, text: str) -> None:
    (one, *rest) = found(change)
    assert (one.verdict, one.text[: len(text)]) == (verdict, text)
    assert [other.verdict for other in rest] in ([], [Mark.INFO])


def test_a_nameserver_that_does_not_answer_proves_nothing_about_the_policy() -> None:
    verdicts = [one.verdict for one in found({"record": DEAD, "policy": failed(ResultType.STS_POLICY_FETCH_ERROR)})]
    assert verdicts == [Mark.UNKNOWN, Mark.UNKNOWN]


@pytest.mark.parametrize(
    ("served", "evidence"),
    [
        (StsPolicy(StsMode.TESTING, (MX,), 604800), "without mode: enforce; with mode: testing"),
        (StsPolicy(StsMode.ENFORCE, (MX, "b.example"), 604800), "with mx: b.example"),
        (StsPolicy(StsMode.ENFORCE, (), 604800), f"without mx: {MX}"),
    ],
)
def test_the_difference_is_told(served: StsPolicy, evidence: str) -> None:
    (one,) = found({"policy": served})
    assert one.evidence == evidence


def test_another_order_is_another_text() -> None:
    ours = publish("contoso.example", StsMode.ENFORCE, ["a.example", MX], 604800)
    served = StsPolicy(StsMode.ENFORCE, (MX, "a.example"), 604800)
    (one, *_) = found({"policy": served, "record": ours.record}, ours)
    assert one.evidence == "its fields are in another order"


def test_the_record_to_publish_is_in_the_fix() -> None:
    (one,) = found({"record": None})
    assert one.fix.endswith(OURS.zone_line)


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (None, Mark.PASS),
        (DEAD, Mark.UNKNOWN),
        (StsRecord("1"), Mark.WARN),
        (RecordError("no id"), Mark.WARN),
    ],
)
def test_of_a_domain_without_a_policy_only_the_record_matters(record: Any, verdict: Mark) -> None:
    (one,) = judge(None, replace(GOOD, record=record, hosts=DEAD))
    assert one.verdict is verdict
