from __future__ import annotations

import pytest

from gatepost.protocols.message.received import relaying_addresses


def path_of(*fields: str) -> list[str]:
    section = "".join(f"{field}\r\n" for field in fields).encode()
    return list(relaying_addresses(section))


# As these servers write it; the client said "helo.example" or an address literal that is not its own.


@pytest.mark.parametrize(
    ("field", "address"),
    [
        (
            "Received: from helo.example (rdns.example [203.0.113.9])\r\n\tby f.example (Postfix) with ESMTP",
            "203.0.113.9",
        ),
        ("Received: from [198.51.100.1] (unknown [203.0.113.9])\r\n by f.example (Postfix) with ESMTP", "203.0.113.9"),
        ("Received: from helo.example (unknown [IPv6:2001:db8::9]) by f.example with ESMTPS", "2001:db8::9"),
        ("received: from helo.example ([203.0.113.9]) by f.example with esmtp (Exim 4.98)", "203.0.113.9"),
        ("Received: from [203.0.113.9] (helo=[198.51.100.1]) by f.example with esmtp (Exim)", "203.0.113.9"),
        ("Received: from [203.0.113.9] (helo=x.example)\r\n\tby f.example with esmtp (Exim)", "203.0.113.9"),
        ("Received: from r.example ([203.0.113.9] helo=[198.51.100.1]) by f.example", "203.0.113.9"),
        ("Received: from h.example (r.example [203.0.113.9] (may be forged)) by f.example", "203.0.113.9"),
        ("Received: from A.prod.outlook.com (2001:db8::9) by B.prod.outlook.com (2001:db8::1)", "2001:db8::9"),
        ("Received: from [203.0.113.9] by f.example", "203.0.113.9"),
        ("Received: from h.example (h.example [::ffff:203.0.113.9]) by f.example", "203.0.113.9"),
    ],
)
def test_the_address_is_what_the_hop_saw_and_never_what_its_client_said(field: str, address: str) -> None:
    assert path_of(field) == [address]


@pytest.mark.parametrize(
    "field",
    [
        "Received: by f.example (Postfix, from userid 33)",
        "Received: from h.example by f.example",
        "Received: from [198.51.100.1] (r.example) by f.example",
        "Received: from h.example (r.example [x]) by f.example",
        "Received: from h.example (r.example [fe80::1%lo]) by f.example",
        "Received: from h.example (r.example [203.0.113.9] by f.example",
        "Received: from h.example (r.example [203.0.113.9]" + " " + "x" * 5000 + ") by f.example",
        "Received:",
        "Received: nonsense",
        "Received: from",
        "Received: from h.example (r.example [203.0.113.9])) by f.example",
        # an EHLO with spaces and parentheses in it, before what the hop saw
        "Received: from x (r [198.51.100.1]) (real [203.0.113.9]) by f.example",
        "Received: from x (r [198.51.100.1]) by y (real [203.0.113.9]) by f.example",
        "Received: from x (r [198.51.100.1]) by y ( (real [203.0.113.9]) by f.example",
        "Received: from x from y (r [198.51.100.1]) by f.example",
    ],
)
def test_nothing_below_a_field_that_cannot_be_read_is_believed(field: str) -> None:
    assert path_of(field, "Received: from h (r [203.0.113.9]) by f") == []


def test_hops_come_the_last_one_first_and_other_fields_between_them_do_not_matter() -> None:
    assert path_of(
        "X-Received: from h (r [192.0.2.1]) by f",
        "Received: from h (r [203.0.113.1]) by f; date",
        "Subject: x",
        " Received: from h (r [192.0.2.2]) by f",
        "RECEIVED : from h (r [203.0.113.2]) by f",
    ) == ["203.0.113.1", "203.0.113.2"]
    assert path_of() == []


def test_they_are_bounded() -> None:
    assert len(path_of(*["Received: from h (r [203.0.113.1]) by f"] * 60)) == 50
