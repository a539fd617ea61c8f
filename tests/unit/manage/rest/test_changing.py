from __future__ import annotations

import pytest

from gatepost.manage.rest.changing import seconds
from gatepost.manage.rest.problem import Problem


def test_times_that_are_none():
    with pytest.raises(Problem) as caught:
        seconds("since", "yesterday")
    assert [error.path for error in caught.value.errors] == ["query.since"]
