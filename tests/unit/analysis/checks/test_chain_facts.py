"""The one thing that the values say by themselves: which verdict counts."""

from __future__ import annotations

from support.chains import server
from support.status_authority import StatusAuthority

from gatepost.analysis.checks.chain import link
from gatepost.analysis.checks.chain_facts import ChainFacts, From
from gatepost.analysis.checks.chain_file import parse_file
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict

LEAF = server(StatusAuthority("Root"))


def test_the_verdict_with_what_was_fetched_counts():
    sent = ChainVerdict(ChainStatus.INCOMPLETE, "", None)
    whole = ChainVerdict(ChainStatus.TRUSTED, "", None)
    path = (link(LEAF.der, From.FILE),)
    alone = ChainFacts(parse_file(LEAF.pem, "x"), 0, sent, path, (), "own", 0.0)
    fetched = ChainFacts(parse_file(LEAF.pem, "x"), 0, sent, path, (), "own", 0.0, completed=whole)
    assert (alone.judged, fetched.judged) == (sent, whole)
    assert "0x" not in repr(alone.file), "octets are not shown"
    assert str(LEAF.der) not in repr(alone)
