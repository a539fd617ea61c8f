"""What the Debian package is made of: the unit's hardening as systemd measures it, settings that load, one account."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from gatepost.node.privileges import DEFAULT_ACCOUNT
from gatepost.settings.loader import load
from gatepost.settings.problem import SettingsError

FILES = Path(__file__).parents[2] / "deploy/debian"
UNIT = FILES / "gatepost.service"
MOST_EXPOSED = 15  # tenths, of 100


def unit():
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_is_hardened_and_keeps_port_25():
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={MOST_EXPOSED}", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]
    assert unit()["AmbientCapabilities"] == unit()["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"


def calls_of(name):
    """The system calls of a set, as systemd has them; the name itself if it is a call."""
    if not name.startswith("@"):
        return {name}
    done = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    words = [line.strip() for line in done.stdout.splitlines()[1:]]
    return {call for word in words if word and not word.startswith("#") for call in calls_of(word)}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_lets_processes_confine_themselves():
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        calls = {call for name in line.lstrip("~").split() for call in calls_of(name)}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    assert "ptrace" not in allowed
    assert {"prctl", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= allowed


def test_the_unit_fits_what_the_gateway_does():
    assert unit()["Type"] == "notify-reload"
    assert unit()["User"] == unit()["Group"] == DEFAULT_ACCOUNT
    assert unit()["ExecStart"] == "/usr/bin/gatepost --config /etc/gatepost/gatepost.toml serve"
    assert "AF_NETLINK" in unit()["RestrictAddressFamilies"].split()  # net.own_addresses
    assert "MemoryDenyWriteExecute" not in unit()  # pyOpenSSL's call-backs


def test_the_settings_want_a_hostname_and_nothing_else(tmp_path):
    text = (FILES / "gatepost.toml").read_text()
    assert "hostname" not in tomllib.loads(text)["server"]
    file = tmp_path / "gatepost.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        load(str(file), {})
    (problem,) = error.value.problems
    assert problem.key == "server.hostname"
    file.write_text(text.replace("# hostname", "hostname"))
    settings = load(str(file), {})
    assert settings.admin.address.startswith("127.0.0.1:")
    assert settings.server.user == DEFAULT_ACCOUNT


def test_every_text_names_the_same_account():
    assert (FILES / "gatepost.sysusers").read_text().split()[1] == DEFAULT_ACCOUNT
    for line in (FILES / "gatepost.tmpfiles").read_text().splitlines():
        assert line.split()[4] == DEFAULT_ACCOUNT


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_maintainer_scripts_are_shell(name):
    subprocess.run(["sh", "-n", FILES / name], check=True)
    assert "\nset -e\n" in (FILES / name).read_text()
