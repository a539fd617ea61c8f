from __future__ import annotations

import asyncio
import re
from pathlib import Path

import dns.name
import dns.rdatatype
import pytest
from support.exhaustion import no_descriptors

from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.unbound import UnboundError, UnboundResult
from gatepost.net.lookups.validator import Validator, ValidatorError, read_anchors
from gatepost.net.shortage import shortage

DS = ". IN DS 38696 8 2 683d2d0acb8c9b712a1948b27f741219298d0a450d612c483af444a4c0fb2b16"
KEY = ". 172800 IN DNSKEY 257 3 13 "
KEY += "mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ=="

# a file -> the beginnings of its keys
FILES = {
    DS: [". IN DS 38696 8 2 683d"],
    f"; the root\n{DS} ; 2024\n\n{KEY}\n": [". IN DS 38696", ". IN DNSKEY 257 3 13 mdss"],
    "test. IN DS ( 1 13 2\n  " + "ab" * 32 + " )": ["test. IN DS 1 13 2 abab"],
    f"{KEY} ;;state=2 [  VALID  ] ;;count=0\n": [". IN DNSKEY"],
    f"{KEY} ;;state=3 [ MISSING ]\n{DS} ;;state=1 [ ADDPEND ]\n": [". IN DNSKEY"],
}


@pytest.mark.parametrize(("text", "begins"), FILES.items(), ids=range(len(FILES)))
def test_the_keys_of_a_file(tmp_path: Path, text: str, begins: list[str]) -> None:
    file = tmp_path / "root.key"
    file.write_text(text)
    found = read_anchors(str(file))
    assert len(found) == len(begins)
    for key, begin in zip(found, begins, strict=True):
        assert key.startswith(begin)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no DS or DNSKEY record in it"),
        (b". IN NS a.root-servers.net.\n", "no DS or DNSKEY record in it"),
        (f"{KEY} ;;state=4 [ REVOKED ]\n".encode(), "no DS or DNSKEY record in it"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n", "unknown rdatatype"),
        (b". IN DS 1 13 2 zz\n", "1"),
        (b"\xff\xfe", "not a text"),
        (b";" * 70_000, "larger than 65536 bytes"),
    ],
)
def test_a_file_without_keys_is_refused_with_advice(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "root.key"
    file.write_bytes(content)
    with pytest.raises(ValidatorError, match=f"^{re.escape(str(file))}:.*({why}).*; dns.trust_anchor_file must name"):
        read_anchors(str(file))


class Library:
    """In the place of the context, for what a real server will not answer."""

    version = "1.2.3"

    def __init__(self, result: UnboundResult | UnboundError) -> None:
        self.result = result

    async def resolve(self, name: str, rdtype: int) -> UnboundResult:
        assert (name, rdtype) == ("a.example.", 52)
        if isinstance(self.result, UnboundError):
            raise self.result
        return self.result


RESULTS = {
    # a result -> whether it is bogus, what is said
    "forged": (UnboundResult(b"", 0, False, True, "no\x1b[1m key"), True, r"badly signed: no\x1b[1m key"),
    "servfail": (UnboundResult(b"", 2, False, False, ""), False, "libunbound found SERVFAIL, resolved from the root"),
    "unknown code": (UnboundResult(b"", 11, False, False, ""), False, "libunbound found DSOTYPENI, resolved"),
    "cut short": (UnboundResult(b"\0" * 5, 0, True, False, ""), False, "the answer makes no sense: "),
    "refusal": (UnboundError("libunbound: out of memory"), False, "a.example TLSA: libunbound: out of memory"),
}


@pytest.mark.parametrize(("result", "bogus", "words"), RESULTS.values(), ids=RESULTS)
def test_what_is_no_answer_is_a_failure_for_now(result: UnboundResult | UnboundError, bogus: bool, words: str) -> None:
    validator = object.__new__(Validator)
    validator._context = Library(result)
    validator._timeout = 5.0
    validator._way = "from the root servers"
    with pytest.raises(LookupFailed) as caught:
        asyncio.run(validator.ask((dns.name.from_text("a.example"), dns.rdatatype.TLSA)))
    assert words in caught.value.detail
    assert (caught.value.bogus, caught.value.temporary) == (bogus, True)


@pytest.mark.parametrize("name", ["servfail", "refusal"])
def test_libunbound_says_servfail_where_it_has_no_socket(name: str) -> None:
    validator = object.__new__(Validator)
    validator._context = Library(RESULTS[name][0])
    validator._timeout = 5.0
    validator._way = "from the root servers"

    async def asked() -> None:
        with no_descriptors():
            await validator.ask((dns.name.from_text("a.example"), dns.rdatatype.TLSA))

    with pytest.raises(LookupFailed) as caught:
        asyncio.run(asked())
    assert shortage(caught.value)
