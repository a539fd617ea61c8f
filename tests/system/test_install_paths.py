"""The tutorial with what each way of docs/install.md installs, in a clean Debian: up to a message under forced TLS.

An ordinary user runs it; nothing of this environment is in sight. GATEPOST_DEB names a package that is built already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.clean_root import CleanRoot, base, built_package, with_venv
from support.debian import MARK, need
from support.process import ROOT
from support.tutorial import shell, steps

USER = "learner"
PLAIN = "/usr/local/bin:/usr/bin:/bin"

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


def follow(command: Sequence[str]) -> None:
    """The whole tutorial in a shell."""
    left = []
    with shell(command) as opened:
        for line, shown in steps():
            opened.follow(line, shown)
            left.append(line)
    assert any("trace search --event SEND" in line for line in left)


def as_user(root: CleanRoot) -> list[str]:
    """A shell of an ordinary user in it, in the user's home."""
    root.run("useradd", "--create-home", "--shell", "/bin/bash", USER)
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--no-new-privs"]
    return root.command(*user, "env", "-i", f"HOME=/home/{USER}", f"PATH={PLAIN}", "sh", "-c", "cd && exec bash -m")


def test_the_debian_package(tmp_path_factory: pytest.TempPathFactory) -> None:
    base()
    package = built_package(tmp_path_factory)
    with CleanRoot() as root:
        shutil.copyfile(package, root / "tmp/gatepost.deb")
        root.run("dpkg", "--install", "/tmp/gatepost.deb")
        follow(as_user(root))


def test_pip(tmp_path: Path) -> None:
    source = with_venv()
    hatchling = Path(sys.executable).with_name("hatchling")
    subprocess.run([hatchling, "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with CleanRoot(source) as root:
        shutil.copy(wheel, root / "root")
        shutil.copy(ROOT / "requirements/all.txt", root / "root")
        root.lend_network()
        root.run("python3", "-m", "venv", "/opt/gatepost")
        pip = "/opt/gatepost/bin/pip install --quiet --disable-pip-version-check"
        said = root.run("sh", "-c", f"{pip} --require-hashes -r /root/all.txt", expect=None)
        if "NewConnectionError" in said or "NameResolutionError" in said:
            pytest.skip(f"{MARK}: the libraries of the lock, from an index of packages")
        root.run("sh", "-c", f"{pip} --force-reinstall --no-deps /root/{wheel.name}")
        root.run("ln", "-s", "/opt/gatepost/bin/gatepost", "/usr/local/bin/gatepost")
        follow(as_user(root))


def test_the_container() -> None:
    """As deploy/Containerfile makes it: another account, no capability, a root file system that is read-only."""
    need("root")
    made = subprocess.run(
        [ROOT / "scripts/container_images.sh", "gatepost"], stdout=subprocess.PIPE, text=True, check=False
    )
    if made.returncode == 3:
        pytest.skip(f"{MARK}: podman, or archives for its images")
    assert made.returncode == 0
    options = "--rm --interactive --read-only --tmpfs /tmp --workdir /tmp --env HOME=/tmp --cap-drop all --network host"
    limits = [*options.split(), "--security-opt", "no-new-privileges", "--entrypoint", "bash"]
    os.environ["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"
    follow([made.stdout.strip(), "run", *limits, "localhost/gatepost", "-m"])
