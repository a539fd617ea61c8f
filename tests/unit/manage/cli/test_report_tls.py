from __future__ import annotations

import csv
import json
import time
from xml.etree import ElementTree as ET

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.reports import period
from gatepost.store.sqlite.trace import write_events

NOW = time.time()
TLS = {
    "version": "TLSv1.3", "group": "X25519MLKEM768", "suite": "TLS_AES_256_GCM_SHA384", "chain": "trusted",
    "certificate": {"names": ["mx.lab.example"]},
}  # fmt: skip


def row(event="SEND", recipient="joe@lab.example", at=NOW, tls=None, **more):
    usual = {"peer_host": "mx.lab.example", "requirement": "opportunistic", "achieved": "none/authenticated"}
    known = {"tls": tls or TLS, "tls_version": "TLSv1.3", "tls_group": "X25519MLKEM768"} if tls != {} else {}
    return TraceEvent(
        at, event, "01", "contoso", "originating", "s", "ann@contoso.example", recipient, **{**usual, **known, **more}
    )


@pytest.fixture
def reported(home):
    """Twelve messages to the lab, one in clear to an old host, one that failed, one long ago."""
    rows = [row() for _ in range(12)]
    rows += [
        row(recipient="x@old.example", tls={}, achieved="none/none", connector="old"),
        row("DEFER", recipient="x@bad.example", result_type="certificate-expired"),
        row(recipient="x@=evil.example"),
        row(at=NOW - 40 * 86400),
    ]
    write_events(home.data / "trace", "0", rows)
    return home


def test_for_people(reported):
    said = reported.call("report", "tls").stdout
    assert "outbound: 14 carried, 1 TLS failure" in said
    assert "encrypted   92.9%         13  #" in said
    assert "cleartext    7.1%          1  ###" in said
    assert "of mail that was only encrypted, 100.0% went to a host with a trusted certificate for its name" in said
    assert "failed     certificate-expired: 1" in said
    assert "domains that never offered TLS\npartner\tdeliveries\nold.example\t1\n" in said
    assert 'lab.example\t12\toutbound tls_settings = "domain-validation" (mx.lab.example)' in said


def test_the_days_are_those_of_the_page_unless_others_are_named(reported):
    found = reported.json("report", "tls")
    assert (found["first"], found["last"]) == tuple(period())
    assert period().days == 30


def test_for_machines_and_since_when(reported):
    found = reported.json("report", "tls", "--since", "60d", "--partner", "lab.example")
    assert found["hops"]["outbound"]["carried"] == 13
    assert found["hops"]["outbound"]["groups"] == {"X25519MLKEM768": 13}
    assert len(found["days"]) == 2
    assert found["ready"] == [
        {"partner": "lab.example", "direction": "outbound", "messages": 13, "demand": "domain-validation",
         "names": ["mx.lab.example"]}
    ]  # fmt: skip


def test_by_connector(reported):
    first, second = reported.table("report", "connectors")
    assert (first["connector"], first["direction"], first["carried"], first["TLS failures"]) == (
        "-",
        "outbound",
        "13",
        "certificate-expired 1",
    )
    assert (second["connector"], second["cleartext"]) == ("old", "100.0%")
    assert [one["name"] for one in reported.json("report", "connectors")] == ["", "old"]


def test_files_for_others(reported, tmp_path):
    for suffix in ("csv", "json", "svg"):
        path = tmp_path / f"r.{suffix}"
        assert f"wrote {path}" in reported.call("report", "tls", "-o", str(path)).stderr
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {one["kind"] for one in rows} == {"day", "partner", "connector"}
    assert sum(int(one["carried"]) for one in rows if one["kind"] == "partner") == 14
    assert [one["name"] for one in rows if "evil" in one["name"]] == ["'=evil.example"]
    assert json.loads((tmp_path / "r.json").read_text())["hops"]["outbound"]["carried"] == 14
    texts = [one.tag for one in ET.parse(tmp_path / "r.svg").iter()]  # noqa: S314 - we have just made it
    assert len(texts) > 50


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--partner", "no domain"], 2, "is not a domain name"),
        (["--since", "2026-01-02", "--until", "2026-01-01"], 2, "is after"),
        (["-o", "r.xls"], 2, "must end in .svg, .csv, .json"),
        (["-o", "r.png"], 2, "drawn as SVG; write it to a file that ends in .svg"),
        (["-o", "/nowhere/r.csv"], 2, "/nowhere/r.csv cannot be written: No such file or directory"),
        (["--partner", "nobody.example"], 1, "no such mail from"),
    ],
)
def test_what_does_not_go(reported, words, code, says):
    assert says in reported.call("report", "tls", *words, code=code).stderr


def test_a_file_that_cannot_be_read_is_named(reported):
    (reported.data / "trace" / "2026-11-01.0.db").write_bytes(b"no database " * 1000)
    said = reported.call("report", "tls", "--since", "2026-10-01", code=3).stderr
    assert "not counted, because they cannot be read: 2026-11-01.0.db" in said
