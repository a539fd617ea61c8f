from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.model import parse


def made(**fields: Any) -> Directory:
    return Directory(parse({"organization": {"o": {"accepted_domain": [{"name": "o.example"}], **fields}}}))


def test_the_default_is_none() -> None:
    directory = made()
    assert str(directory.organizations[0].authentication_results) == "none"
    assert not directory.authenticates


@pytest.mark.parametrize("text", ["gateway", "rspamd"])
def test_who_may_do_it(text: str) -> None:
    directory = made(authentication_results=text)
    assert str(directory.organizations[0].authentication_results) == text
    assert directory.authenticates


def test_nobody_else_may() -> None:
    with pytest.raises(ResourceErrors, match="authentication_results"):
        made(authentication_results="opendmarc")
