from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.hook_index import ApplicableHook, HookIndex
from gatepost.policy.connectors.records import Organization
from gatepost.policy.decisions.content import ScanResult, decide, hooks_for
from gatepost.protocols.message.edit import HeaderEdits
from gatepost.protocols.scanners.finding import ScanAction, ScanFinding

MARKS = HeaderEdits((("X-Spam", "Yes"),), (("X-Spam", 0),))
FIELDS = HeaderEdits((("X-A", "1"),), (("X-B", 0),))

REFUSED = "554 5.7.1 Message refused because of its content"
NOT_NOW = "451 4.7.1 Message not accepted for now because of its content, try again later"
UNEXAMINED = "451 4.7.1 Message cannot be examined now, try again later"
TOO_LARGE = "552 5.3.4 Message is too large to be examined"


def hook(**fields: Any) -> ContentHook:
    return ContentHook(**{"name": "h", "type": "rspamd", "address": "http://127.0.0.1:11333"} | fields)


def clamav(**fields: Any) -> ContentHook:
    return hook(type="clamav", address="127.0.0.1:3310", **fields)


def asked(**fields: Any) -> ApplicableHook:
    return ApplicableHook("contoso", hook(**fields))


@pytest.fixture
def index() -> HookIndex:
    contoso = Organization(
        name="contoso",
        content_hooks=(
            hook(name="in", direction="inbound"),
            hook(name="out", direction="outbound"),
            hook(name="both"),
            hook(name="off", enabled=False),
        ),
    )
    fabrikam = Organization(name="fabrikam", content_hooks=(hook(name="theirs", direction="inbound"),))
    return HookIndex((contoso, fabrikam, Organization(name="adatum")))


@pytest.mark.parametrize(
    ("whose", "reached", "names"),
    [
        (("contoso", "incoming"), ["contoso"], ["both", "in"]),
        (("contoso", "incoming"), ["contoso", "fabrikam", "fabrikam"], ["both", "in", "theirs"]),
        (("fabrikam", "incoming"), ["fabrikam", "contoso"], ["theirs", "both", "in"]),
        (("contoso", "originating"), [], ["both", "out"]),
        (("contoso", "originating"), ["contoso"], ["both", "out"]),
        (("contoso", "originating"), ["fabrikam"], ["both", "out", "theirs"]),
        (("contoso", "originating"), ["adatum"], ["both", "out"]),
        (("fabrikam", "originating"), [], []),
        (("adatum", "incoming"), ["adatum"], []),
    ],
)
def test_who_is_asked(index: HookIndex, whose: tuple[str, str], reached: list[str], names: list[str]) -> None:
    assert [one.hook.name for one in hooks_for(index, whose, reached)] == names


@pytest.mark.parametrize(
    ("action", "obey", "reply"),
    [
        (ScanAction.NO_ACTION, None, None),
        (ScanAction.REJECT, None, REFUSED),
        (ScanAction.SOFT_REJECT, None, NOT_NOW),
        (ScanAction.GREYLIST, None, None),
        (ScanAction.GREYLIST, ("greylist",), NOT_NOW),
        (ScanAction.REJECT, (), None),
        (ScanAction.SOFT_REJECT, ("reject",), None),
    ],
)
def test_actions_are_obeyed_as_it_was_said(action: ScanAction, obey: tuple[str, ...] | None, reply: str | None) -> None:
    who = asked() if obey is None else asked(obey=obey)
    found = decide([ScanResult(who, ScanFinding(action))])
    assert (found.reply.text if found.reply else None) == reply
    assert found.records[0]["action"] == str(action)


@pytest.mark.parametrize(
    ("action", "fields", "edits"),
    [
        (ScanAction.NO_ACTION, {}, FIELDS),
        (ScanAction.NO_ACTION, {"change_header": False}, None),
        (ScanAction.ADD_HEADER, {}, HeaderEdits(MARKS.add + FIELDS.add, MARKS.remove + FIELDS.remove)),
        (ScanAction.ADD_HEADER, {"change_header": False}, MARKS),
        (ScanAction.ADD_HEADER, {"obey": ()}, FIELDS),
        (ScanAction.REWRITE_SUBJECT, {}, HeaderEdits(FIELDS.add, FIELDS.remove, "new")),
        (ScanAction.REWRITE_SUBJECT, {"obey": ("add-header",)}, FIELDS),
        (ScanAction.REJECT, {"mode": "rehearse"}, None),
        (ScanAction.ADD_HEADER, {"mode": "rehearse"}, None),
    ],
)
def test_what_the_header_becomes(action: ScanAction, fields: dict[str, Any], edits: HeaderEdits | None) -> None:
    found = decide([ScanResult(asked(**fields), ScanFinding(action, edits=FIELDS, marks=MARKS, subject="new"))])
    assert found.edits == ((edits,) if edits else ())
    assert found.reply is None


def test_a_virus_is_refused_whatever_rspamd_would_be_obeyed_in() -> None:
    who = ApplicableHook("contoso", clamav())
    found = decide([ScanResult(who, ScanFinding(ScanAction.REJECT, signature="Eicar"), milliseconds=7)])
    assert found.reply is not None
    assert found.reply.text == REFUSED  # not a word of what was found
    assert found.records == (
        {
            "hook": "h",
            "organization": "contoso",
            "action": "reject",
            "does": f"refuses with {REFUSED}",
            "ms": 7,
            "signature": "Eicar",
        },
    )


@pytest.mark.parametrize(("on_failure", "reply"), [("defer", UNEXAMINED), ("accept", None)])
def test_no_answer(on_failure: str, reply: str | None) -> None:
    found = decide([ScanResult(asked(on_failure=on_failure), failure="it hangs")])
    assert (found.reply.text if found.reply else None) == reply
    assert (found.records[0]["action"], found.records[0]["failure"]) == ("none", "it hangs")


def test_a_shortage_of_our_own_lets_nothing_pass_a_scanner() -> None:
    found = decide([ScanResult(asked(on_failure="accept"), failure="Too many open files", ours=True)])
    assert found.reply is not None
    assert found.reply.text == UNEXAMINED


@pytest.mark.parametrize(("over", "reply"), [("refuse", TOO_LARGE), ("accept", None)])
def test_too_large(over: str, reply: str | None) -> None:
    found = decide([ScanResult(asked(over_max_size=over), too_large=True)])
    assert (found.reply.text if found.reply else None) == reply
    assert found.records[0]["action"] == "too large"


def test_a_refusal_for_good_comes_before_one_for_now_and_rehearsals_only_tell() -> None:
    answers = [
        ScanResult(asked(name="late"), failure="x"),
        ScanResult(asked(name="sure"), ScanFinding(ScanAction.REJECT)),
        ScanResult(asked(name="trial", mode="rehearse"), ScanFinding(ScanAction.REJECT)),
        ScanResult(asked(name="clean"), ScanFinding(ScanAction.NO_ACTION)),
    ]
    found = decide(answers)
    assert found.reply is not None
    assert found.reply.text == REFUSED
    assert [one.get("rehearsal") for one in found.records] == [None, None, True, None]
    assert found.records[2]["does"] == f"refuses with {REFUSED}"
    rehearsed = decide(answers[2:])
    assert rehearsed.reply is None
    assert decide([]).records == ()


def test_a_record_tells_everything_that_is_known() -> None:
    finding = ScanFinding(ScanAction.REWRITE_SUBJECT, "", 0.0, 15.0, ("A(1)",), "said", FIELDS, MARKS, "new")
    (record,) = decide([ScanResult(asked(), finding)]).records
    assert record == {
        "hook": "h",
        "organization": "contoso",
        "action": "rewrite-subject",
        "does": "adds X-A, removes X-B, rewrites the subject",
        "ms": 0,
        "score": 0.0,
        "required": 15.0,
        "symbols": ["A(1)"],
        "said": "said",
    }
    assert decide([ScanResult(asked(), ScanFinding(ScanAction.NO_ACTION))]).records[0]["does"] == "passes it"
    many = HeaderEdits(tuple((f"X-{number // 2}", "1") for number in range(50)))
    does = decide([ScanResult(asked(), ScanFinding(ScanAction.NO_ACTION, edits=many))]).records[0]["does"]
    assert does == "adds X-0, X-1, X-2, X-3, X-4, X-5, X-6, X-7, X-8, X-9 and 15 more"


def test_what_a_hook_holds_is_taken_and_marked_unless_it_is_refused_elsewhere() -> None:
    spam = ScanFinding(ScanAction.ADD_HEADER, score=7.0, required=15.0, marks=MARKS)
    held = decide([ScanResult(asked(quarantine=("add-header",)), spam)])
    assert held.reply is None
    assert held.edits == (MARKS,)
    assert held.quarantines == (("contoso", "content hook 'h'", "rspamd: add-header, score 7 of 15"),)
    assert held.records[0]["does"].startswith("holds it in quarantine, adds X-Spam")
    virus = ScanResult(
        ApplicableHook("contoso", clamav(quarantine=("reject",))), ScanFinding(ScanAction.REJECT, signature="Eicar")
    )
    assert decide([virus]).quarantines == (("contoso", "content hook 'h'", "clamav: Eicar"),)
    bare = ScanResult(asked(quarantine=("reject",), mode="rehearse"), ScanFinding(ScanAction.REJECT))
    examination = decide([bare])
    assert examination.quarantines == ()
    assert examination.records[0]["does"] == "holds it in quarantine"
    refused = decide([virus, ScanResult(asked(), ScanFinding(ScanAction.REJECT))])
    assert refused.reply is not None


BELIEVED = HeaderEdits(
    (
        ("X-Own", "1"),
        ("Authentication-Results", "mx.gate.example; dmarc=pass"),
        ("authentication-results", "(x)"),
        ("Authentication-Results", "other.example; dkim=pass"),
        ("x-ms-exchange-Organization-AuthAs", "Internal"),
        ("X-MS-Exchange-CrossPremises-AuthAs", "Internal"),
    ),
    (("X-Own", 0), ("Authentication-Results", 0), ("X-MS-Exchange-Organization-SCL", 1)),
)
HARMLESS = HeaderEdits((BELIEVED.add[0], BELIEVED.add[3]), BELIEVED.remove[:1])


@pytest.mark.parametrize(
    ("reached", "names", "edits"),
    [
        ((), ("mx.gate.example",), HeaderEdits(BELIEVED.add, BELIEVED.remove)),
        (("contoso",), ("mx.gate.example",), HeaderEdits(BELIEVED.add, BELIEVED.remove)),
        (("fabrikam",), ("mx.gate.example",), HARMLESS),
        (("contoso", "fabrikam"), ("mx.gate.example",), HARMLESS),
        (("fabrikam",), (), HeaderEdits(BELIEVED.add[:4], BELIEVED.remove[:1])),
    ],
)
def test_no_scanner_puts_what_others_believe_into_their_mail(
    reached: tuple[str, ...], names: tuple[str, ...], edits: HeaderEdits
) -> None:
    found = decide([ScanResult(asked(), ScanFinding(ScanAction.NO_ACTION, edits=BELIEVED))], reached, names)
    assert found.edits == (edits,)
    assert ("Exchange" in found.records[0]["does"]) is (reached in {(), ("contoso",)})
