from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from gatepost.protocols.dmarc.discovery import DmarcResult, Identifier, evaluate_dmarc
from gatepost.protocols.dns.lookups import DnsRecords

NOTHING = "neither SPF nor DKIM passes for the author's domain"


def zone(**texts: str) -> dict[str, DnsRecords]:
    """DnsRecords at _dmarc of names, with "_" for dots."""
    return {
        f"_dmarc.{name.replace('_', '.')} TXT": DnsRecords((f"v=DMARC1; {text}".encode(),))
        for name, text in texts.items()
    }


def dkim(domain: str, result: str = "pass") -> Identifier:
    return Identifier("dkim", domain, result)


def spf(domain: str, result: str = "pass") -> Identifier:
    return Identifier("spf", domain, result)


ORDINARY = zone(a_example="p=reject; sp=quarantine")
SUFFIX = zone(example="p=none; psd=y; np=reject", b_a_example="p=none")
DELEGATED = zone(a_example="p=none", team_a_example="p=reject; psd=n")
STRICT = zone(a_example="p=none; adkim=s; aspf=r")

CASES = [
    (ORDINARY, "a.example", [spf("a.example")], DmarcResult("pass", "reject")),
    (ORDINARY, "a.example", [dkim("A.example")], DmarcResult("pass", "reject")),
    (ORDINARY, "a.example", [spf("mail.a.example")], DmarcResult("pass", "reject")),
    (ORDINARY, "news.a.example", [dkim("a.example")], DmarcResult("pass", "quarantine")),
    (ORDINARY, "news.a.example", [dkim("mail.a.example")], DmarcResult("pass", "quarantine")),
    (ORDINARY, "a.example", [dkim("b.example")], DmarcResult("fail", "reject", NOTHING)),
    (ORDINARY, "a.example", [dkim("xa.example")], DmarcResult("fail", "reject", NOTHING)),
    (ORDINARY, "a.example", [dkim("a.example", "fail"), spf("b.example")], DmarcResult("fail", "reject", NOTHING)),
    (ORDINARY, "a.example", [], DmarcResult("fail", "reject", NOTHING)),
    (
        ORDINARY,
        "a.example",
        [dkim("a.example", "temperror")],
        DmarcResult("temperror", "reject", "SPF or DKIM have no result now"),
    ),
    (ORDINARY, "b.example", [spf("b.example")], DmarcResult("none")),
    (STRICT, "a.example", [dkim("mail.a.example")], DmarcResult("fail", "none", NOTHING)),
    (STRICT, "a.example", [spf("mail.a.example")], DmarcResult("pass", "none")),
    (SUFFIX, "c.example", [dkim("d.example")], DmarcResult("fail", "reject", NOTHING)),
    (SUFFIX, "x.c.example", [dkim("y.c.example")], DmarcResult("pass", "reject")),
    (SUFFIX, "b.a.example", [dkim("a.example")], DmarcResult("pass", "none")),
    (DELEGATED, "x.team.a.example", [dkim("a.example")], DmarcResult("fail", "reject", NOTHING)),
    (DELEGATED, "x.team.a.example", [dkim("y.team.a.example")], DmarcResult("pass", "reject")),
    (DELEGATED, "a.example", [dkim("team.a.example")], DmarcResult("fail", "none", NOTHING)),
]


@pytest.mark.parametrize(("records", "author", "identifiers", "expected"), CASES)
def test_alignment(
    answered: Any, records: Any, author: str, identifiers: list[Identifier], expected: DmarcResult
) -> None:
    assert answered(evaluate_dmarc(author, identifiers), records) == expected


def test_an_author_that_exists_has_the_policy_of_subdomains(answered: Any) -> None:
    records = zone(a_example="p=reject; sp=quarantine; np=none") | {"x.a.example A": DnsRecords()}
    assert answered(evaluate_dmarc("x.a.example", []), records).policy == "quarantine"
    assert answered(evaluate_dmarc("y.a.example", []), records).policy == "none"


def test_a_failure_is_no_absence(answered: Any) -> None:
    records = {"_dmarc.a.example TXT": DnsRecords(failure="no answer")}
    assert answered(evaluate_dmarc("a.example", [spf("a.example")]), records) == DmarcResult(
        "temperror", "", "no answer"
    )


def test_the_walk_has_eight_steps_at_most() -> None:
    evaluation = evaluate_dmarc("a.b.c.d.e.f.g.h.i.j.mail.example", [])
    asked = [next(evaluation).name]
    with suppress(StopIteration):
        while True:
            asked.append(evaluation.send(DnsRecords()).name)
    names = ["a.b.c.d.e.f.g.h.i.j.mail.example", "f.g.h.i.j.mail.example", "g.h.i.j.mail.example", "h.i.j.mail.example"]
    names += ["i.j.mail.example", "j.mail.example", "mail.example", "example"]
    assert asked == [f"_dmarc.{name}" for name in names]
