from __future__ import annotations

import pytest

from gatepost.net.known_hosts import host_of


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("mx1.contoso.example", "mx1.contoso.example"),
        ("MX1.Contoso.example.:8443", "mx1.contoso.example"),
        ("127.0.0.1:8443", "127.0.0.1"),
        ("[::1]:8443", "::1"),
        ("[::1]", "::1"),
        ("127.0.0.1:", "127.0.0.1"),
        *(
            (odd, "")
            for odd in (
                "",
                "a:b",
                "::1",
                "::1]",
                "[::1",
                "[127.0.0.1]",
                "[:]",
                "[::1%25eth0]",
                "[v1.x]",
                "a@localhost",
                "localhost:123456",
                "localhost:80:80",
                "localhost/x",
                "localhost, evil.example",
                "lo\u00e7al",
            )
        ),
    ],
)
def test_the_host_of_a_field(header, host):
    assert host_of(header) == host
