from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from gatepost.policy.connectors.journal_fields import JournalFailuresTo, JournalTo


@pytest.mark.parametrize("field", [JournalTo, JournalFailuresTo])
def test_a_journal_has_an_address_or_none(field: object) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(field)
    assert adapter.validate_python("") == ""
    assert adapter.validate_python("Keep@O.example") == "Keep@o.example"
    with pytest.raises(ValidationError):
        adapter.validate_python("keep")
