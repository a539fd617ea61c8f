from __future__ import annotations

import asyncio

import pytest

from gatepost.manage.cli import site_join
from gatepost.pki.site.records import JoinRefused, SiteRefusal, SiteUnreachable


@pytest.fixture
def site(home):
    """A gateway with a master key and the authority of a site."""
    key = home.path / "master.key"
    key.touch(0o600)
    key.write_bytes(bytes(32))
    home.settings(store={"master_key": f"file:{key}"}, site={"address": "127.0.0.1:8444"})
    home.call("site", "init", "--domain", "gate.example")
    return home


def test_a_token_is_shown_once(site):
    done = site.call("site", "token", "--for", "MX2.Gate.example", "--valid", "15m")
    token = done.stdout.strip()
    assert token.startswith("gpj1.")
    assert "for mx2.gate.example, until " in done.stderr
    assert "on that node: gatepost site join mx.gate.example:8444 --token -" in done.stderr
    (open_one,) = site.json("site", "status")["tokens"]
    assert (open_one["node"], open_one["expires"] - open_one["added"]) == ("mx2.gate.example", 900)
    assert "sha256" not in open_one
    assert token.split(".")[1] not in site.call("site", "history").stdout


@pytest.mark.parametrize("valid", ["0s", "8d", "soon", "-1"])
def test_how_long_a_token_may_be_valid(site, valid):
    site.call("site", "token", "--valid", valid, code=2)
    assert site.json("site", "status")["tokens"] == []


def test_names_that_get_no_token(site):
    assert "--for: " in site.call("site", "token", "--for", "a b", code=2).stderr
    assert "may issue only for names in gate.example" in site.call("site", "token", "--for", "b.example", code=1).stderr


def test_a_token_may_be_taken_back(site):
    site.call("site", "token")
    number = site.json("site", "status")["tokens"][0]["id"]
    assert number in site.call("site", "nodes", "remove-token", number).stderr
    assert "there is no open token" in site.call("site", "nodes", "remove-token", number, code=2).stderr


def test_without_an_authority_there_is_no_token(home):
    assert "no site has its authority here" in home.call("site", "token", code=2).stderr


def test_who_cannot_join(site):
    token = site.call("site", "token").stdout.strip()
    assert "keeps the authority of a site" in site.call("site", "join", "h", "--token", token, code=2).stderr
    assert "this is not a join token" in site.call("site", "join", "h", "--token", "x", code=2).stderr
    assert "h:x" in site.call("site", "join", "h:x", "--token", token, code=2).stderr
    assert "its nodes still need it" in site.call("site", "leave", code=2).stderr


def test_who_is_not_in_a_site_does_not_leave_one(home):
    assert "belongs to no site" in home.call("site", "leave", code=2).stderr


def test_a_site_that_is_not_reached(site, tmp_path, home):
    token = site.call("site", "token").stdout.strip()
    home.settings(
        store={"master_key": f"file:{home.path / 'master.key'}"},
        server={"hostname": "mx2.gate.example", "data_dir": str(tmp_path / "other")},
    )
    said = home.call("site", "join", "127.0.0.1:1", "--token", token, code=3).stderr
    assert "127.0.0.1:1: " in said
    assert "check that [site] address is set there" in said
    home.json("site", "status", code=1)


def test_a_site_that_cannot_answer_now_is_asked_again_with_the_same_key(monkeypatch, capsys):
    asked, answers = [], [JoinRefused(SiteRefusal.BUSY, "busy"), SiteUnreachable("gone"), "grant"]

    class Connection:
        async def ask(self, what, body):
            asked.append((what, body))
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(site_join, "_PAUSES", (0.01,) * 4)
    body = {"token": "t", "request": "csr"}
    assert asyncio.run(site_join._granted(Connection(), body)) == "grant"
    assert asked == [("join", body)] * 3
    assert capsys.readouterr().err.count("asking again in 0.01 s") == 2
    answers[:] = [SiteUnreachable("it ends"), ConnectionRefusedError(), "grant"]
    assert asyncio.run(site_join._granted(Connection(), body)) == "grant", "it started anew meanwhile"
    answers[:] = [ConnectionRefusedError(), "grant"]
    with pytest.raises(ConnectionRefusedError):  # a wrong address, or a firewall: nothing was used up
        asyncio.run(site_join._granted(Connection(), body))
    answers[:] = [JoinRefused(SiteRefusal.TOKEN, "used")]
    with pytest.raises(JoinRefused, match="used"):
        asyncio.run(site_join._granted(Connection(), body))
    answers[:] = [SiteUnreachable("gone")] * 5
    with pytest.raises(SiteUnreachable):
        asyncio.run(site_join._granted(Connection(), body))
