from __future__ import annotations

import pytest

from gatepost.protocols.tls.profile import PROFILES, published


def test_every_suite_of_every_profile_in_its_order(home):
    rows = home.table("tls", "profiles")
    expected = [(name, suite.name) for name, profile in PROFILES.items() for suite in published(profile)]
    assert [(row["profile"], row["name"]) for row in rows] == expected


def test_the_columns_of_a_suite(home):
    rows = {(row["profile"], row["name"]): row for row in home.table("tls", "profiles", "compatible", "modern")}
    assert {profile for profile, _ in rows} == {"compatible", "modern"}
    assert rows["compatible", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"] == {
        "profile": "compatible",
        "name": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "key exchange/strength": "ECDH/192",
        "forward secrecy": "yes",
        "cipher/strength": "AES/256",
        "authentication/strength": "RSA/112",
        "oldest version": "TLSv1.2",
    }
    assert rows["compatible", "TLS_RSA_WITH_AES_256_GCM_SHA384"]["forward secrecy"] == "no"


def test_for_machines(home):
    documents = home.json("tls", "profiles", "legacy", "default")
    assert [one["profile"] for one in documents] == ["legacy", "default"]
    for document in documents:
        profile = PROFILES[document["profile"]]
        assert (document["min_version"], document["max_version"]) == (profile.min_version, profile.max_version)
        assert document["groups"] == profile.groups
        assert [suite["name"] for suite in document["suites"]] == [suite.name for suite in published(profile)]
        assert set(document["suites"][0]) == {
            "name",
            "key_exchange",
            "forward_secrecy",
            "cipher",
            "authentication",
            "oldest_version",
        }


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_names_that_are_no_profiles(home, words):
    result = home.call("tls", "profiles", "modern", "future", "past", *words, code=2)
    assert result.stdout == ""
    assert result.stderr == "unknown profile future, past; use one of modern, default, compatible, legacy\n"


def test_no_settings_are_needed(home):
    home.file.unlink()
    home.call("tls", "profiles")
