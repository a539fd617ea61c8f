from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.settings.loader import load
from gatepost.settings.problem import SettingsError
from gatepost.settings.section import SectionError
from gatepost.settings.sections import GroupRole, Oidc

SERVER = '[server]\nhostname = "mx.example"\n'
ISSUER = 'issuer = "https://login.example/realms/staff"\n'
CLIENT = 'client_id = "gatepost"\n'
GROUP = '[[oidc.group]]\nname = "mail-owners"\nrole = "owner"\n'


def written(folder: Path, text: str) -> str:
    path = folder / "g.toml"
    path.write_text(f"{SERVER}[oidc]\n{text}", encoding="utf-8")
    return str(path)


def problems_of(path: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(path, {})
    return [str(problem) for problem in raised.value.problems]


def test_it_is_off_unless_an_issuer_is_written() -> None:
    own = Oidc()
    assert (own.issuer, own.groups, own.private_issuer, own.timeout) == ("", (), False, 10)
    assert (own.scopes, own.name_claim, own.groups_claim) == (("openid", "profile"), "preferred_username", "groups")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    help_desk = '[[oidc.group]]\nname = "help"\nrole = "operator"\norganizations = ["contoso"]\n'
    secret = 'client_secret = "env:OIDC"\ntrust_anchors = "issuer.pem"\ntimeout = "5s"\n'
    own = load(written(tmp_path, ISSUER + CLIENT + secret + GROUP + help_desk), {}).oidc
    assert (own.issuer, own.client_id, own.timeout) == ("https://login.example/realms/staff", "gatepost", 5)
    assert own.trust_anchors == str(tmp_path / "issuer.pem"), "beside the file that names it"
    assert [(one.name, one.role, one.organizations) for one in own.groups] == [
        ("mail-owners", GroupRole.OWNER, ()),
        ("help", GroupRole.OPERATOR, ("contoso",)),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ISSUER + GROUP, "oidc.client_id: is needed with issuer"),
        (ISSUER + CLIENT, "oidc.group: without [[oidc.group]] nobody can log in through the issuer"),
        (
            ISSUER + CLIENT + GROUP + 'organizations = ["contoso"]\n',
            "oidc.group[0].organizations: an owner administers the",
        ),
        (CLIENT.replace("gatepost", "x" * 201), "oidc.client_id: "),
        ('issuer = "http://login.example"\n', "oidc.issuer: "),
        ('issuer = "https://login.example/?realm=staff"\n', "oidc.issuer: "),
        ('issuer = "https://login.microsoftonline.com/common/v2.0"\n', "oidc.issuer: "),
        ('[[oidc.group]]\nname = "x"\nrole = "root"\n', "oidc.group[0].role: "),
        ('[[oidc.group]]\nname = ""\nrole = "owner"\n', "oidc.group[0].name: "),
    ],
)
def test_what_does_not_fit_together_is_told_with_its_field(tmp_path: Path, text: str, said: str) -> None:
    (problem,) = problems_of(written(tmp_path, text))
    assert said in problem


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    assert len(problems_of(written(tmp_path, ISSUER))) == 2


def test_a_secret_in_the_place_of_its_reference_is_not_repeated(tmp_path: Path) -> None:
    (problem,) = problems_of(written(tmp_path, ISSUER + CLIENT + 'client_secret = "s3cr3t"\n' + GROUP))
    assert "oidc.client_secret: " in problem
    assert "s3cr3t" not in problem


@pytest.mark.parametrize("fields", [{"timeout": 0}, {"timeout": "2m"}, {"private_issuer": "yes"}, {"name_claim": ""}])
def test_what_is_out_of_range(fields: dict[str, object]) -> None:
    with pytest.raises(SectionError):
        Oidc(**fields)
