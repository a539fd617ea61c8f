from __future__ import annotations

from collections import Counter

import pytest

from gatepost.analysis.reports.tls import (
    Direction,
    HopSummary,
    Named,
    Protection,
    Ready,
    TlsCounter,
    Wanted,
    report_record,
)
from gatepost.decoding import converted
from gatepost.manage.cli.report_tls import CONNECTOR_COLUMNS, connector_rows, print_report
from gatepost.manage.use_cases.reports import TlsReportSummary
from gatepost.values import replace

DAY = "2026-11-24"
HUGE = 10**15


def report(**fields):
    return replace(TlsCounter(Wanted()).report(DAY, DAY), **fields)


def summary(found):
    return converted(report_record(found), TlsReportSummary)


def printed(capsys, found):
    print_report(summary(found))
    return capsys.readouterr().out


def hops(protections=None, **fields):
    return HopSummary(
        Counter(protections or {}),
        **{name: Counter(one) if isinstance(one, dict) else one for name, one in fields.items()},
    )


def outbound(capsys, **fields):
    """What is said of mail that went out."""
    text = printed(capsys, report(hops={Direction.INBOUND: HopSummary(), Direction.OUTBOUND: hops(**fields)}))
    return text.partition("\noutbound: ")[2].splitlines()


def test_no_mail_at_all_is_said_of_both_directions(capsys):
    lines = printed(capsys, report()).splitlines()
    assert lines[0] == "2026-11-24 to 2026-11-24 (UTC), one delivery for each recipient and hop"
    for first in ("inbound: 0 carried", "outbound: 0 carried, 0 TLS failures"):
        place = lines.index(first)
        assert [line.split() for line in lines[place + 1 : place + 6]] == [[str(one), "-", "0"] for one in Protection]
    assert "partner" not in "".join(lines), "an empty table is left out"


@pytest.mark.parametrize(
    ("clear", "shares"),
    [
        (0, ("100.0%", "0.0%")),
        (1, (">99.9%", "<0.1%")),
        (HUGE // 2, ("50.0%", "50.0%")),
        (HUGE - 1, ("<0.1%", ">99.9%")),
        (HUGE, ("0.0%", "100.0%")),
    ],
)
def test_a_little_is_never_nothing_and_not_quite_all_is_never_all(capsys, clear, shares):
    """One message in clear among very many is what somebody looks for."""
    lines = outbound(capsys, protections={Protection.DANE: HUGE - clear, Protection.CLEARTEXT: clear})
    told = {line.split()[0]: line.split()[1] for line in lines[1:6]}
    assert (told["dane"], told["cleartext"]) == shares
    assert lines[0].startswith(f"{HUGE} carried, ")


def test_bars_are_as_long_as_their_share(capsys):
    lines = outbound(capsys, protections={Protection.VERIFIED: 3, Protection.ENCRYPTED: 1})
    assert [line.count("#") for line in lines[1:6]] == [0, 0, 30, 10, 0]
    assert not any(line.endswith(" ") for line in lines)


def test_refusals_and_failures_without_anything_carried(capsys):
    lines = outbound(capsys, refused=7, failures={"certificate-expired": 2, "starttls-not-supported": 5})
    assert lines[0] == "0 carried, 7 refused, 7 TLS failures"
    assert lines[-2:] == ["    failed     starttls-not-supported: 5", "    failed     certificate-expired: 2"]
    assert not any("quantum" in line for line in lines)


def test_what_is_only_encrypted_might_have_been_demanded(capsys):
    lines = outbound(capsys, protections={Protection.ENCRYPTED: 4}, trusted=3)
    assert any("75.0% went to a host with a trusted certificate for its name" in line for line in lines)
    assert not any("unasked" in line for line in outbound(capsys, protections={Protection.ENCRYPTED: 4}))


def test_mail_that_came_in_went_to_no_host(capsys):
    """A client whose handshake fails sends no mail: there is no number of such failures to tell."""
    inbound = hops(protections={Protection.ENCRYPTED: 4}, trusted=1)
    text = printed(capsys, report(hops={Direction.INBOUND: inbound, Direction.OUTBOUND: hops()}))
    said = text.partition("\ninbound: ")[2].partition("\noutbound: ")[0]
    assert said.splitlines()[0] == "4 carried"
    assert "25.0% came from a client with a trusted certificate\n" in said
    assert "went to a host" not in said


def test_only_the_six_most_used_of_a_kind_are_named(capsys):
    suites = {f"SUITE-{number}": 10 - number for number in range(8)}
    (line,) = [one for one in outbound(capsys, protections={Protection.DANE: 1}, suites=suites) if "suite" in one]
    assert [f"SUITE-{number} " in line for number in range(8)] == [True] * 6 + [False] * 2


def test_a_part_has_twenty_lines_and_says_how_many_there_are(capsys):
    never = tuple((f"p{number}.example", number) for number in range(21))
    lines = printed(capsys, report(never_tls=never)).splitlines()
    place = lines.index("domains that never offered TLS (the first 20 of 21; all: --json or -o FILE)")
    assert len(lines[place + 2 :]) == 20
    assert "the first" not in printed(capsys, report(never_tls=never[:20]))


def test_partners_that_are_ready_are_told_with_what_to_write(capsys):
    ready = (
        Ready("lab.example", inbound=False, messages=12, demand="domain-validation", names=("mx1", "mx2")),
        Ready("bank.example", inbound=True, messages=11, demand="require_tls"),
    )
    lines = printed(capsys, report(ready=ready)).splitlines()
    assert lines[-2:] == [
        'lab.example\t12\toutbound tls_settings = "domain-validation" (mx1, mx2)',
        "bank.example\t11\tinbound require_tls",
    ]


def test_a_line_of_a_connector_has_a_cell_for_each_column():
    nobody = Named("", Direction.INBOUND, hops())
    lab = Named(
        "lab",
        Direction.OUTBOUND,
        hops({Protection.DANE: 1, Protection.CLEARTEXT: 2}, groups={"X25519MLKEM768": 1}, failures={"b": 1, "a": 1}),
    )
    empty, full = (
        dict(zip(CONNECTOR_COLUMNS, row, strict=True))
        for row in connector_rows(summary(report(connectors=(nobody, lab))).connectors)
    )
    assert (empty["connector"], empty["carried"], empty["cleartext"], empty["TLS failures"]) == ("-", 0, "-", "-")
    assert (full["dane"], full["cleartext"], full["post-quantum"]) == ("33.3%", "66.7%", "33.3%")
    assert full["TLS failures"] == "a 1, b 1", "the same order each time"


def test_names_of_strangers_do_nothing_to_a_terminal(capsys):
    hostile = "x\x1b[2J\t\r\n\u202e<b>"
    text = printed(
        capsys,
        report(
            hops=dict.fromkeys(
                Direction,
                hops({Protection.DANE: 1}, suites={hostile: 1}, groups={hostile: 1}, failures={hostile: 1}),
            ),
            partners=(Named(hostile, Direction.INBOUND, hops(failures={hostile: 1})),),
            never_tls=((hostile, 1),),
            ready=(Ready(hostile, inbound=True, messages=1, demand="require_tls", names=(hostile,)),),
        ),
    )
    assert all(one.isprintable() or one == "\t" for line in text.split("\n") for one in line)
    (row,) = [line for line in text.splitlines() if line.endswith("\t1") and line.startswith("x")]
    assert row == "x?[2J????<b>\t1"
