from __future__ import annotations

import pytest

from gatepost.manage.remote.times import time_text
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.times import moment


@pytest.mark.parametrize("seconds", [1.0, 1_795_521_600.0, 1_795_521_600.123456])
def test_a_time_comes_back(seconds):
    assert moment(time_text(seconds)) == seconds


def test_no_time():
    assert time_text(0.0) == time_text(None) == ""
    with pytest.raises(Refusal):
        time_text(1e18)
