from __future__ import annotations

import asyncio

import pytest

from gatepost.node.assembly import Assembly

SENDING = {
    "tls_reports": {
        "send": True,
        "organization_name": "Contoso",
        "contact": "tls@contoso.example",
        "mail_from": "reports@contoso.example",
    }
}


@pytest.mark.parametrize(
    ("sections", "names"),
    [
        ({"trace": {"days": 0}}, ["the clock", "alarms", "TLS reports of others", "the quarantine"]),
        ({}, ["the clock", "alarms", "TLS reports of others", "the quarantine", "retention of the trace"]),
        (
            SENDING,
            [
                "the clock",
                "alarms",
                "TLS reports of others",
                "the quarantine",
                "retention of the trace",
                "TLS reports of ours",
            ],
        ),
    ],
    ids=["for ever", "usual", "sending"],
)
def test_what_one_worker_does_for_others(home, sections, names):
    async def run():
        assembly = await Assembly.build(home.settings(**sections), 0, 1, [])
        try:
            parts = list(assembly._duties(assembly._stores[0], assembly._managers[0]).parts())
            assert [part.name for part in parts] == names
            assert all(part.lease is not None and part.lease.held for part in parts)
            assert [len(part.duties) for part in parts] == [1] * len(parts)
            assert set(names) <= {part.name for part in assembly.parts._parts}
        finally:
            await assembly.parts.close(0.5)

    asyncio.run(asyncio.wait_for(run(), 20))
