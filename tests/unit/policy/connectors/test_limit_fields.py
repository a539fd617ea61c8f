from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from gatepost.policy.connectors import limit_fields

FIELDS = [name for name in vars(limit_fields) if name.startswith(("Max", "Messages", "Recip", "User", "Server"))]


@pytest.mark.parametrize("name", FIELDS)
def test_numbers_from_nothing_on(name):
    field = TypeAdapter(vars(limit_fields)[name])
    assert field.validate_python(0) == 0
    for wrong in (-1, 1.5, "5", 100_000_000):
        with pytest.raises(ValidationError):
            field.validate_python(wrong)
