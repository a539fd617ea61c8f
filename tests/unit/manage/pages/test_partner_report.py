from __future__ import annotations

import pytest

from gatepost.analysis.checks.partner_report import Finding, Mark, PartnerCheck, PolicyKind, Row, Stage
from gatepost.manage.pages.partner import check_view

FOUND = (Finding(Stage.DNS, Mark.PASS, "proven", short="sec"), Finding(Stage.CONNECT, Mark.PASS, "there", short="3 ms"))


def cells(row: Row, *, done: bool) -> dict[str, str]:
    view = check_view(PartnerCheck("b.example", "partner", 0.0, 1.0, (), (row,)), done=done)
    (line,) = view.lines
    return {
        name: f"{cell.level} {cell.text}" if cell else "" for name, cell in zip(view.stages, line.cells, strict=True)
    }


def test_cells_fill_one_after_the_other() -> None:
    row = Row("mx", 10, "192.0.2.1:25", PolicyKind.OPPORTUNISTIC, FOUND, transcript=("< 220 mx",), looking=Stage.EHLO)
    assert cells(row, done=False) == {
        "DNS": "pass sec",
        "Connect": "pass 3 ms",
        "EHLO": "running checking…",
        "TLS": "waiting …",
        "Certificate": "waiting …",
        "DANE": "waiting …",
        "MTA-STS": "waiting …",
        "Revocation": "waiting …",
        "REQUIRETLS": "waiting …",
    }


@pytest.mark.parametrize(("done", "policy"), [(False, "waiting …"), (True, None)])
def test_the_policy_of_a_domain_may_come_after_its_hosts(done: bool, policy: str | None) -> None:
    row = Row("mx", 10, "192.0.2.1:25", PolicyKind.OPPORTUNISTIC, FOUND)
    found = cells(row, done=done)
    assert found.get("MTA-STS") == policy
    assert "running checking…" not in found.values()


def test_what_was_said_is_shown_in_the_end() -> None:
    row = Row("mx", 10, "192.0.2.1:25", PolicyKind.OPPORTUNISTIC, FOUND, transcript=("< 220 mx", "> EHLO"))
    for done, text in ((True, "< 220 mx\n> EHLO"), (False, "")):
        check = PartnerCheck("b.example", "partner", 0.0, 1.0, (), (row,))
        assert check_view(check, done=done).lines[0].transcript == text
