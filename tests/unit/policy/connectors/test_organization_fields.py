from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatepost.language import NAMES
from gatepost.policy.connectors.records import Organization
from gatepost.policy.connectors.values import NoticeLanguage, QuarantineRelease


def test_defaults_and_bounds() -> None:
    plain = Organization(name="a")
    assert (plain.quarantine_days, plain.quarantine_release, plain.quarantine_digest) == (
        30,
        QuarantineRelease.ADMINISTRATORS,
        False,
    )
    assert Organization.model_validate({"name": "a", "quarantine_release": "gateway"}).quarantine_release == "gateway"
    for days in (0, 31):
        with pytest.raises(ValidationError):
            Organization.model_validate({"name": "a", "quarantine_days": days})


def test_mail_is_written_in_each_language_that_there_is_a_catalogue_of():
    assert [str(language) for language in NoticeLanguage] == list(NAMES)
