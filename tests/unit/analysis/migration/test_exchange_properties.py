from __future__ import annotations

from gatepost.analysis.migration import exchange_properties as properties

READ = (
    properties.METADATA,
    properties.INBOUND,
    properties.OUTBOUND,
    properties.DOMAIN,
    properties.RULE,
    properties.ORGANIZATION,
    properties.TRANSPORT,
)


def test_names_are_in_lower_case():
    for names in (*READ, properties.LOST):
        assert names
        assert all(name == name.lower() for name in names)


def test_what_is_read_is_not_reported_as_lost():
    for names in READ:
        assert not names & properties.LOST.keys()


def test_every_loss_says_what_to_do():
    for name, why in properties.LOST.items():
        assert ";" in why, name
    assert ";" in properties.UNKNOWN
