from __future__ import annotations

import pytest

from gatepost.settings.references import mail_address, secret_reference, time_zone


@pytest.mark.parametrize("value", ["", "file:/x", "env:X", "credential:x"])
def test_where_a_secret_may_be(value):
    assert secret_reference(value) == value


def test_a_secret_itself_is_no_setting():
    with pytest.raises(ValueError, match="write file:/PATH, env:NAME or credential:NAME") as told:
        secret_reference("hunter2")
    assert "hunter2" not in str(told.value)


def test_the_path_of_a_secret_is_absolute():
    with pytest.raises(ValueError, match="absolute; write file:/PATH") as told:
        secret_reference("file:hunter2")
    assert "hunter2" not in str(told.value)


def test_mail_addresses():
    assert (mail_address(""), mail_address("A@Example.test")) == ("", "A@Example.test")
    with pytest.raises(ValueError, match="is not a mail address"):
        mail_address("nobody")


@pytest.mark.parametrize("name", ["UTC", "Europe/Stockholm"])
def test_time_zones(name):
    assert time_zone(name) == name
    with pytest.raises(ValueError, match="tzdata"):
        time_zone(f"{name}x")
