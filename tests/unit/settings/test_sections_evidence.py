from __future__ import annotations

import pytest

from gatepost.events.evidence.entry import AddressPrivacy, MessageIds, Privacy
from gatepost.settings.section import SectionError
from gatepost.settings.sections import Evidence


def test_it_is_kept_unless_said_otherwise_and_sparing_with_data_of_persons():
    usual = Evidence()
    assert usual.enabled
    assert usual.keep == 400 * 86400
    assert usual.privacy() == Privacy(AddressPrivacy.DOMAIN, MessageIds.FULL)


def test_how_much_is_kept_of_persons_can_be_chosen():
    chosen = Evidence(addresses="hash", message_ids="hash", keep="3650d")
    assert chosen.privacy() == Privacy(AddressPrivacy.HASH, MessageIds.HASH)
    assert chosen.keep == 3650 * 86400


@pytest.mark.parametrize("wrong", [{"keep": "1h"}, {"keep": "20000d"}, {"addresses": "none"}, {"message_ids": "no"}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(SectionError):
        Evidence(**wrong)
