from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.mtasts.policy import LintKind, StsMode, StsPolicy, lint

WEEK = 604_800

# mode, mx, max_age, hosts -> kind, level and words of each remark.
CASES: dict[str, tuple[tuple[StsMode, tuple[str, ...], int, tuple[str, ...]], list[tuple[LintKind, str, str]]]] = {
    "nothing to say": ((StsMode.ENFORCE, ("mail.b.example",), WEEK, ("MAIL.b.example.",)), []),
    "hosts not known": ((StsMode.ENFORCE, ("mail.b.example", "*.b.example"), WEEK, ()), []),
    "a wildcard that is too short": (
        (StsMode.ENFORCE, ("*.mx.microsoft",), WEEK, ("contoso.h-v1.mx.microsoft",)),
        [
            (
                LintKind.HOST_NOT_COVERED,
                "fail",
                "*.mx.microsoft stands for one label only; add mx: contoso.h-v1.mx.microsoft",
            ),
            (LintKind.MX_UNUSED, "info", "covers none of the MX hosts"),
        ],
    ),
    "another host": (
        (StsMode.ENFORCE, ("mail.b.example",), WEEK, ("mail.b.example", "spare.c.example.")),
        [
            (
                LintKind.HOST_NOT_COVERED,
                "fail",
                "spare.c.example. is not delivered to: no mx of the policy covers it; add",
            )
        ],
    ),
    "another host in testing": (
        (StsMode.TESTING, ("mail.b.example",), WEEK, ("mail.b.example", "spare.c.example")),
        [
            (LintKind.MODE_TESTING, "info", "protects no mail"),
            (LintKind.HOST_NOT_COVERED, "warn", "is reported as failing"),
        ],
    ),
    "another host in none": (
        (StsMode.NONE, ("mail.b.example",), 60, ("spare.c.example",)),
        [(LintKind.MODE_NONE, "info", "withdraws"), (LintKind.MX_UNUSED, "info", "mail.b.example")],
    ),
    "an MX that is not a host name": (
        (StsMode.ENFORCE, ("mail.b.example",), WEEK, ("mail.b.example", "[192.0.2.1]")),
        [(LintKind.HOST_NOT_COVERED, "fail", "add mx: [192.0.2.1]")],
    ),
    "addresses": (
        (StsMode.ENFORCE, ("192.0.2.1", "*.192.0.2.1", "mail.b.example"), WEEK, ("mail.b.example",)),
        [
            (LintKind.MX_NEVER_MATCHES, "warn", "mx 192.0.2.1 can never match: an MX record names a host"),
            (LintKind.MX_NEVER_MATCHES, "warn", "mx *.192.0.2.1 can never match"),
        ],
    ),
    "one label": (
        (StsMode.ENFORCE, ("mail", "*.example", "mail.b.example"), WEEK, ()),
        [(LintKind.MX_NEVER_MATCHES, "warn", "mx mail can never match: MX hosts have whole names")],
    ),
    "an hour": ((StsMode.ENFORCE, ("a.b.example",), 3600, ()), [(LintKind.MAX_AGE_SHORT, "warn", "less than a day")]),
    "a day": ((StsMode.ENFORCE, ("a.b.example",), 86_400, ()), []),
    "an hour of testing": (
        (StsMode.TESTING, ("a.b.example",), 3600, ()),
        [(LintKind.MODE_TESTING, "info", "")],
    ),
    "a year": (
        (StsMode.ENFORCE, ("a.b.example",), 31_557_600, ()),
        [(LintKind.MAX_AGE_LONG, "info", "more than half a year")],
    ),
    "more than a year": (
        (StsMode.ENFORCE, ("a.b.example",), 31_557_601, ()),
        [(LintKind.MAX_AGE_EXCEEDED, "warn", "max_age 31557601 is more than 31557600, the longest there is")],
    ),
    "a year of none": ((StsMode.NONE, (), 31_557_600, ()), [(LintKind.MODE_NONE, "info", "")]),
}


@pytest.mark.parametrize("name", CASES)
def test_remarks(name: str) -> None:
    (mode, mx, max_age, hosts), expected = CASES[name]
    found = lint(StsPolicy(mode, mx, max_age), hosts)
    assert [(one.kind, one.level) for one in found] == [(kind, level) for kind, level, _ in expected]
    for one, (_, _, words) in zip(found, expected, strict=True):
        assert words in one.text


@given(st.lists(st.text(max_size=30)), st.lists(st.text(max_size=30), max_size=3).map(tuple))
def test_a_failing_remark_for_each_host_that_is_left_out(hosts: list[str], mx: tuple[str, ...]) -> None:
    policy = StsPolicy(StsMode.ENFORCE, mx, WEEK)
    failing = [one for one in lint(policy, hosts) if one.level == "fail"]
    assert len(failing) == sum(not policy.matches(host) for host in hosts)
