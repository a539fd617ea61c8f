from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.net.lookups import configured, unbound
from gatepost.net.lookups.configured import check_validation, configured_resolver
from gatepost.net.lookups.validator import ValidatorError
from gatepost.settings.model import Dns, DnsValidation

KEY = ". IN DS 38696 8 2 683d2d0acb8c9b712a1948b27f741219298d0a450d612c483af444a4c0fb2b16\n"


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    unbound.load.cache_clear()
    monkeypatch.setattr(unbound, "LIBRARY", "libnosuchunbound.so.8")
    yield
    unbound.load.cache_clear()


def local(file: Path, **fields: Any) -> Dns:
    return Dns(validate=DnsValidation.LOCAL, trust_anchor_file=str(file), **fields)


def test_who_is_listed_is_believed() -> None:
    resolver = configured_resolver(Dns(nameservers=("192.0.2.1:53", "192.0.2.2:53"), trusted=("192.0.2.2",)))
    assert (resolver.dane_off, "the validation of [192.0.2.2]:53" in resolver.validation) == ("", True)
    assert configured_resolver(Dns(trust_ad=False)).dane_off.startswith("DANE is off: dns.trust_ad is false")


@pytest.mark.usefixtures("without_library")
def test_nothing_stands_in_for_a_missing_library(tmp_path: Path) -> None:
    file = tmp_path / "root.key"
    file.write_text(KEY)
    for made in (configured_resolver, check_validation):
        with pytest.raises(ValidatorError, match="apt install libunbound8"):
            made(local(file))
    check_validation(Dns())


def test_the_key_is_looked_at_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "load", lambda: None)
    with pytest.raises(ValidatorError, match=r"No such file or directory; dns.trust_anchor_file"):
        check_validation(local(tmp_path / "none"))
    (tmp_path / "root.key").write_text(KEY)
    check_validation(local(tmp_path / "root.key"))


@pytest.mark.parametrize(
    ("fields", "expected"), [({}, ()), ({"nameservers": ("127.0.0.1:53",)}, ("127.0.0.1:53",))], ids=["root", "named"]
)
def test_only_nameservers_that_somebody_named_carry_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], expected: tuple[str, ...]
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(configured, "Validator", lambda *given, **waits: made.append((given, waits)))
    configured_resolver(local(tmp_path / "root.key", timeout=3, attempts=2, **fields))
    assert made == [((expected, str(tmp_path / "root.key")), {"timeout": 6})]
