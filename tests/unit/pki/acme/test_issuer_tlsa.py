from __future__ import annotations

import asyncio

import dns.rdata
import pytest

from gatepost.net.identity import ServerIdentity, read_identity
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus
from gatepost.net.lookups.question import LookupFailed
from gatepost.pki.acme.issuer import objection, published_tlsa
from gatepost.pki.certificates.authority import Authority

NAME = "mx.a.example"
NOW = 1_800_000_000.0
AUTHORITY = Authority("TLSA Root")
MADE = ServerIdentity(*AUTHORITY.issue([NAME]))
LEAF = read_identity(MADE).leaf
OURS, STRANGE = f"3 1 1 {LEAF.spki_sha256}", f"3 1 1 {'00' * 32}"
OF_CERTIFICATE = f"3 0 1 {LEAF.sha256}"


class Dns:
    """Answers from a dictionary; asked: what was."""

    def __init__(self, records):
        self._records, self.asked = records, []

    async def query(self, name, rdtype):
        self.asked.append((name, rdtype))
        found = self._records.get(name, [])
        if isinstance(found, LookupFailed):
            raise found
        records = tuple(dns.rdata.from_text("IN", "TLSA", one) for one in found)
        return DnsAnswer(DnsStatus.OK if records else DnsStatus.NXDOMAIN, records, False, 60, (name,))


def look(records, names=(NAME,)):
    return asyncio.run(published_tlsa(Dns({f"_25._tcp.{name}": found for name, found in records.items()}), names))


CASES = [
    # TLSA records -> what is said, with the key kept or not
    ([], ""),
    ([OURS], ""),
    ([STRANGE, OURS], ""),
    ([OF_CERTIFICATE], ""),
    (["0 0 1 " + "00" * 32], ""),  # which senders do not use
    ([STRANGE], "the TLSA records of mx.a.example do not allow it: "),
    ([f"3 0 1 {'11' * 32}"], "the TLSA records of mx.a.example do not allow it: "),
]


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(("records", "text"), CASES)
def test_what_is_against_a_certificate(records, text, kept):
    found = objection(look({NAME: records}), MADE.chain_pem, key_kept=kept, now=NOW)
    assert found.startswith(text)
    assert bool(found) == bool(text)


@pytest.mark.parametrize(
    ("temporary", "kept", "held"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_new_key_waits_while_records_are_not_known(temporary, kept, held):
    failure = LookupFailed("SERVFAIL", temporary=temporary)
    found = objection(look({NAME: failure}), MADE.chain_pem, key_kept=kept, now=NOW)
    assert bool(found) is held
    assert not held or found == "its key is new, and the TLSA records of mx.a.example are not known: SERVFAIL"


def test_only_names_at_which_mail_can_come_are_looked_up():
    asked = Dns({})
    asyncio.run(published_tlsa(asked, ["mx.a.example", "*.a.example", "mta-sts.a.example", "b.example"]))
    assert asked.asked == [("_25._tcp.mx.a.example", "TLSA"), ("_25._tcp.b.example", "TLSA")]
