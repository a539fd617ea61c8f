"""A release of a copy of this repository: signed, verified, the same bytes twice; and what keeps it from that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.debian import MARK, need

from gatepost import __version__

ROOT = Path(__file__).parents[2]
DATE = "2027-02-01"
NEXT = f"{__version__.rpartition('.')[0]}.99"


class Copy:
    """A clone of what is committed, with the working copy of the scripts, and a key that signs its releases."""

    def __init__(self, folder: Path, key: Path) -> None:
        self.path, self.key = folder, key
        git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
        for name in ("user.name=The Release", "user.email=release@gatepost.example"):
            git(folder, "config", *name.split("=", 1))
        for name in ("scripts/release.py", "Makefile"):
            shutil.copy(ROOT / name, folder / name)
        makefile = folder / "Makefile"  # to compress the package takes a minute of CPU, and says nothing here
        makefile.write_text(makefile.read_text().replace("debian_package.py", "debian_package.py --fast"))
        public = key.with_suffix(".pub").read_text()
        (folder / "release-signers").write_text(f'gatepost namespaces="git,gatepost-release" {public}')
        changelog = folder / "CHANGELOG.md"
        text = changelog.read_text()
        changelog.write_text(text.replace("## Unreleased", "## Unreleased\n\n- a fix\n\n## Before", 1))
        self.commit("Prepare")

    def commit(self, subject: str) -> None:
        """All changes, at a time that is the same in each copy."""
        dated = {"GIT_AUTHOR_DATE": "1790000000 +0000", "GIT_COMMITTER_DATE": "1790000000 +0000"}
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--message", subject, environment=dated)

    def release(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        command = [sys.executable, self.path / "scripts/release.py", *words]
        return subprocess.run(
            command, cwd=self.path, capture_output=True, text=True, check=False, env=environment(), timeout=700
        )


def environment() -> dict[str, str]:
    """Ours, less what would reach into the copy."""
    return {name: value for name, value in os.environ.items() if name not in {"SOURCE_DATE_EPOCH", "VIRTUAL_ENV"}}


def git(folder: Path, *words: str, environment: dict[str, str] | None = None) -> str:
    """What git prints."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key for releases."""
    need("git", "ssh-keygen")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    file = tmp_path_factory.mktemp("key") / "release"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "release", "-f", file], check=True)
    return file


@pytest.mark.timeout(400)
def test_what_keeps_a_release_from_being_made_is_said(tmp_path: Path, key: Path) -> None:
    copy = Copy(tmp_path / "copy", key)
    before = git(copy.path, "rev-parse", "HEAD")

    def refused(*words: str | Path) -> str:
        done = copy.release(*words, "--date", DATE)
        assert done.returncode == 1, done.stdout + done.stderr
        assert git(copy.path, "rev-parse", "HEAD") == before
        return done.stderr

    assert "is no version" in refused("next", "--key", key)
    assert "is older than" in refused("0.0.1", "--key", key)
    git(copy.path, "tag", f"v{NEXT}")
    assert "is there already" in refused(NEXT, "--key", key)
    git(copy.path, "tag", "--delete", f"v{NEXT}")
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    assert "is no key of release-signers" in refused(NEXT, "--key", stranger)
    (copy.path / "notes").write_text("not committed")
    assert "not committed" in refused(NEXT, "--key", key)
    (copy.path / "notes").unlink()
    (copy.path / "Makefile").write_text("dist deb sbom:\n\tfalse\n")
    copy.commit("Break the build")
    before = git(copy.path, "rev-parse", "HEAD")
    assert "make" in refused(NEXT, "--key", key)
    assert git(copy.path, "status", "--porcelain") == ""
    assert git(copy.path, "tag", "--list") == ""


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_two_copies_give_the_same_release(tmp_path: Path, key: Path) -> None:
    """Each builds everything anew in an environment of its own, in another folder."""
    if shutil.which("dpkg-deb") is None or shutil.which("python3.13", path="/usr/bin") is None:
        pytest.skip(f"{MARK}: dpkg-deb and Debian's python3.13")
    copies = [Copy(tmp_path / name, key) for name in ("one", "another-folder")]
    for copy in copies:
        subprocess.run(["make", "env"], cwd=copy.path, check=True, capture_output=True, env=environment())
        done = copy.release(NEXT, "--key", key, "--date", DATE)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"git push origin HEAD v{NEXT}" in done.stdout
    first, second = ({path.name: path.read_bytes() for path in (copy.path / "dist").iterdir()} for copy in copies)
    assert sorted(first) == sorted(
        [
            *("SHA256SUMS", "SHA256SUMS.sig", "gatepost.cdx.json", f"gatepost-{NEXT}.tar.gz"),
            *(f"gatepost-{NEXT}-py3-none-any.whl", next(name for name in first if name.endswith(".deb"))),
        ]
    )
    different = [name for name in first if first[name] != second[name]]
    assert not different, different
    assert git(copies[0].path, "rev-parse", f"v{NEXT}^{{commit}}") == git(copies[1].path, "rev-parse", "HEAD")

    copy, dist = copies[0], copies[0].path / "dist"
    assert git(copy.path, "status", "--porcelain") == ""
    assert f"## Unreleased\n\n## {NEXT} ({DATE})\n\n- a fix\n" in (copy.path / "CHANGELOG.md").read_text()
    signers = ["-c", "gpg.format=ssh", "-c", "gpg.ssh.allowedSignersFile=release-signers"]
    git(copy.path, *signers, "tag", "--verify", f"v{NEXT}")
    with zipfile.ZipFile(dist / f"gatepost-{NEXT}-py3-none-any.whl") as wheel:
        assert f'__version__ = "{NEXT}"' in wheel.read("gatepost/__init__.py").decode()
        assert (
            "gatepost = gatepost.testing.plugin" in wheel.read(f"gatepost-{NEXT}.dist-info/entry_points.txt").decode()
        )
    with tarfile.open(dist / f"gatepost-{NEXT}.tar.gz") as archive:
        assert f"gatepost-{NEXT}/CHANGELOG.md" in archive.getnames()

    assert copy.release("--verify", dist).returncode == 0
    wheel_file = dist / f"gatepost-{NEXT}-py3-none-any.whl"
    wheel_file.write_bytes(wheel_file.read_bytes() + b"\0")
    assert "is not the file that was signed" in copy.release("--verify", dist).stderr
    with (dist / "SHA256SUMS").open("a") as sums:
        sums.write("\n")
    assert copy.release("--verify", dist).returncode == 1
