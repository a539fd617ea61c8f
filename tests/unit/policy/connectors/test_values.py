from __future__ import annotations

from itertools import pairwise

import pytest

from gatepost.policy.connectors.values import JournalDirection, ProfileName, TlsSettings, TlsVersion
from gatepost.protocols.tls.profile import PROFILES, VERSIONS


def test_versions_are_those_of_the_tls_engine_and_compare_as_text() -> None:
    assert tuple(TlsVersion) == VERSIONS
    assert all(older < newer for older, newer in pairwise(TlsVersion))


def test_every_profile_has_a_name_and_every_name_a_profile() -> None:
    assert set(ProfileName) == set(PROFILES)


def test_values_are_in_kebab_case() -> None:
    assert [str(one) for one in TlsSettings] == [
        "opportunistic",
        "encryption-only",
        "certificate-validation",
        "domain-validation",
    ]


@pytest.mark.parametrize(
    ("setting", "covered"),
    [
        ("all", {"incoming", "outgoing", "internal"}),
        ("external", {"incoming", "outgoing"}),
        ("incoming", {"incoming"}),
        ("outgoing", {"outgoing"}),
        ("internal", {"internal"}),
    ],
)
def test_directions_of_a_journal(setting: str, covered: set[str]) -> None:
    ways = (JournalDirection.INCOMING, JournalDirection.OUTGOING, JournalDirection.INTERNAL)
    assert {str(way) for way in ways if JournalDirection(setting).covers(way)} == covered
