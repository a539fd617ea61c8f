"""By the test suite of RFC 7208 (openspf.org), which is kept beside this file, and by what that leaves out."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatepost.protocols.dns.lookups import DnsRecords, Query
from gatepost.protocols.spf.evaluation import SpfResult, check_host
from gatepost.values import replace

SUITE = list(yaml.safe_load_all(Path(__file__).with_name("rfc7208-tests.yml").read_text(encoding="utf-8")))
CASES = {name: (case, scenario["zonedata"]) for scenario in SUITE for name, case in scenario["tests"].items()}
# The macro p is always "unknown" here, as where no name of the address leads back to it (RFC 7208 section 7.3).
KNOWN = {"p-macro-multiple": ["neutral"]}


def from_zone(query: Query, zone: dict[str, Any]) -> DnsRecords:
    """What a name server with that zone says. SPF records of type 99 stand for TXT records, unless there are some."""
    entries = zone.get(query.name.lower())
    if entries is None:
        return DnsRecords(nxdomain=True)
    tables = [entry for entry in entries if isinstance(entry, dict)]
    kinds = {kind for table in tables for kind in table}
    values = []
    for table in tables:
        ((kind, value),) = table.items()
        kind = "TXT" if kind == "SPF" and "TXT" not in kinds else kind
        if kind == "CNAME":
            return from_zone(replace(query, name=value), zone)
        if kind == query.kind and value == "TIMEOUT":
            return DnsRecords(failure="timeout")
        if kind == query.kind and value != "NONE":
            values.append(value)
    if "TIMEOUT" in entries and not values:
        return DnsRecords(failure="timeout")
    return found(query.kind, values)


def found(kind: str, values: list[Any]) -> DnsRecords:
    if kind == "TXT":
        return DnsRecords(
            tuple("".join([value] if isinstance(value, str) else value).encode("latin-1") for value in values)
        )
    if kind == "MX":
        return DnsRecords(values=tuple(host.rstrip(".") for _, host in sorted(values)))
    return DnsRecords(values=tuple(str(value).rstrip(".") for value in values))


@pytest.mark.parametrize("name", CASES)
def test_the_suite_of_the_rfc(name: str) -> None:
    case, zonedata = CASES[name]
    zone = {owner.lower(): entries for owner, entries in zonedata.items()}
    sender = case["mailfrom"] or case["helo"]
    sender = sender if "@" in sender else f"postmaster@{sender}"
    sender = f"postmaster{sender}" if sender.startswith("@") else sender
    evaluation = check_host(ip_address(case["host"]), sender.rpartition("@")[2], sender, case["helo"])
    try:
        query = next(evaluation)
        while True:
            query = evaluation.send(from_zone(query, zone))
    except StopIteration as stop:
        result = stop.value
    expected = KNOWN.get(name, case["result"])
    assert result.result in ([expected] if isinstance(expected, str) else expected)


def txt(text: str) -> DnsRecords:
    return DnsRecords((text.encode(),))


V4 = ip_address("192.0.2.1")


def test_a_mapped_address_is_one_of_version_4(answered: Any) -> None:
    evaluation = check_host(ip_address("::ffff:192.0.2.1"), "a.example", "x@a.example", "h")
    assert answered(evaluation, {"a.example TXT": txt("v=spf1 ip4:192.0.2.0/24 -all")}) == SpfResult("pass")


def test_failures_say_what_could_not_be_told(answered: Any) -> None:
    zone = {"a.example TXT": txt("v=spf1 mx -all"), "a.example MX": DnsRecords(failure="MX of a.example: no answer")}
    assert answered(check_host(V4, "a.example", "x@a.example", "h"), zone) == SpfResult(
        "temperror", "MX of a.example: no answer"
    )


@pytest.mark.parametrize(
    ("names", "back", "expected"),
    [
        (("other.example",), (), "fail"),
        (("mx.a.example",), ("192.0.2.1",), "pass"),
        (("a.example",), ("192.0.2.9",), "fail"),
    ],
)
def test_names_of_the_address(answered: Any, names: tuple[str, ...], back: tuple[str, ...], expected: str) -> None:
    zone = {
        "a.example TXT": txt("v=spf1 ptr -all"),
        "1.2.0.192.in-addr.arpa PTR": DnsRecords(values=names),
        f"{names[0]} A": DnsRecords(values=back),
    }
    assert answered(check_host(V4, "a.example", "x@a.example", "h"), zone).result == expected


def test_names_that_cannot_be_told_match_nothing(answered: Any) -> None:
    zone = {"a.example TXT": txt("v=spf1 ptr ~all"), "1.2.0.192.in-addr.arpa PTR": DnsRecords(failure="x")}
    assert answered(check_host(V4, "a.example", "x@a.example", "h"), zone).result == "softfail"
    zone["1.2.0.192.in-addr.arpa PTR"] = DnsRecords(values=("a.example",))
    zone["a.example A"] = DnsRecords(failure="x")
    assert answered(check_host(V4, "a.example", "x@a.example", "h"), zone).result == "softfail"


@pytest.mark.parametrize("domain", ["[192.0.2.1]", "localhost", "a..example", f"{'a' * 64}.example", "x." * 130 + "y"])
def test_what_is_no_name_has_no_record(answered: Any, domain: str) -> None:
    assert answered(check_host(V4, domain, "x@y", "h"), {}).result == "none"


def test_hosts_and_void_lookups_are_counted(answered: Any) -> None:
    many = tuple(f"{number}.example" for number in range(11))
    zone = {"a.example TXT": txt("v=spf1 mx -all"), "a.example MX": DnsRecords(values=many)}
    assert answered(check_host(V4, "a.example", "x@a.example", "h"), zone).why == "mx:a.example has more than 10 hosts"
    void = {"a.example TXT": txt("v=spf1 a:x.example a:y.example a:z.example -all")}
    result = answered(check_host(V4, "a.example", "x@a.example", "h"), void)
    assert result == SpfResult("permerror", "more than 2 look-ups found nothing")


def test_records_are_counted(answered: Any) -> None:
    """A text, a host and its addresses."""
    zone = {"a.example TXT": txt("v=spf1 mx -all"), "a.example MX": DnsRecords(values=("b.example",))}
    for more, expected in ((998, "fail"), (999, "permerror")):
        zone["b.example A"] = DnsRecords(values=("192.0.2.9",) * more)
        result = answered(check_host(V4, "a.example", "x@a.example", "h"), zone)
        assert result.result == expected
    assert result.why == "its look-ups found more than 1000 records"
