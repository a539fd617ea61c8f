from __future__ import annotations

import re

import pytest

from gatepost.protocols.smtp.limits import SmtpLimits


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        (name, {"command_line": 512, "text_line": 0, "discard_bytes": 0}.get(name, 1))
        for name in SmtpLimits.__struct_fields__
    ],
)
def test_each_limit_has_a_floor(name, floor):
    assert getattr(SmtpLimits(**{name: floor}), name) == floor
    with pytest.raises(ValueError, match=rf"{name} is {floor - 1}, a whole number of at least {floor} is needed"):
        SmtpLimits(**{name: floor - 1})
    for value in (1000.5, "1000", True, None):
        with pytest.raises(ValueError, match=rf"{name} is {value!r}, a whole number"):
            SmtpLimits(**{name: value})


def test_the_documentation_names_each_limit():
    documented = set(re.findall(r"^ *(\w+): ", SmtpLimits.__doc__ or "", re.MULTILINE))
    assert set(SmtpLimits.__struct_fields__) <= documented
