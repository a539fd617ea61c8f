from __future__ import annotations

import pytest

from gatepost.manage.rest.versions import etag, is_known, may_change

# header field -> whether it lets version 17 be changed (strong), whether it knows version 17 (weak)
FIELDS = [
    ('"v17"', True, True),
    (" * ", True, True),
    ('"v16", "v17"', True, True),
    ('W/"v17"', False, True),
    ('"v16", W/"v17"', False, True),
    ('"v170"', False, False),
    ("v17", False, False),
    ('""', False, False),
    ("", False, False),
    ('"v17', False, False),
]


@pytest.mark.parametrize(("value", "changes", "known"), FIELDS)
def test_entity_tags(value, changes, known):
    assert (may_change(value, 17), is_known(value, 17)) == (changes, known)


def test_the_tag_of_a_version_matches_itself():
    assert etag(17) == '"v17"'
    assert may_change(etag(3), 3)
    assert not may_change(etag(3), 4)
