#!/usr/bin/env python3
"""Unpacks the QEMU of bookworm-backports beside the installed one.

    fetch_qemu10.py FOLDER

QEMU 10 models IOMMUs that Debian 12's 7.2 has not. It is downloaded as Debian packages from the mirror that this
computer's own apt uses, with sources, lists and cache of its own below FOLDER: nothing is installed, and the system's
apt sources are neither changed nor read beyond the mirror's address. The shared libraries are those of the installed
QEMU. Binaries are then in FOLDER/usr/bin; FOLDER/version says which version. A second call does nothing.

Exit codes: 0 it is there, 2 usage, 3 it cannot be had; the reason is on stderr.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ["qemu-system-x86", "qemu-system-arm", "qemu-system-riscv", "qemu-system-common", "qemu-system-data",
            "seabios"]
RELEASE = "bookworm"
SUITE = "bookworm-backports"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LIMIT_S = 300


class Unavailable(Exception):
    """Says what is missing, and why."""


def run(command, why, **options):
    """stdout of the command; Unavailable when it fails."""
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{why}: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{why}: {command[0]} failed" + "".join(f"\n  {line}" for line in lines[-5:]))
    return done.stdout


def own_source():
    """One line of apt sources for SUITE, on the mirror from which the system has RELEASE."""
    rows = run(["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(CREATED_BY) $(COMPONENT)"],
               "the apt sources of this computer cannot be read")
    for row in rows.splitlines():
        site, *target = row.split(" ")
        if target == [RELEASE, "Packages", "main"]:
            signed_by = f"[signed-by={KEYRING}] " if Path(KEYRING).exists() else ""
            return f"deb {signed_by}{site} {SUITE} main\n"
    raise Unavailable(f"this computer's apt has no package list of Debian {RELEASE} (main); apt-get update first")


def apt_options(work):
    sources = work / "sources.list"
    sources.write_text(own_source())
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    settings = {
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "-", "Dir::State::Lists": work / "lists",
        "Dir::Cache": work / "cache", "Acquire::Languages": "none", "Acquire::Retries": 1, "Acquire::http::Timeout": 20,
        "APT::Get::List-Cleanup": "false",
    }
    if os.geteuid() == 0:
        settings["APT::Sandbox::User"] = "root"  # FOLDER need not be readable for apt's own user
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def fetch(folder):
    """Everything happens in a neighbour of folder, which takes its place at the end."""
    work = folder.with_name(folder.name + ".new")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        packages = work / "packages"
        packages.mkdir()
        options = apt_options(work.resolve())
        run(["apt-get", *options, "update", "--error-on=any"], f"no package list of {SUITE}")
        wanted = [f"{name}/{SUITE}" for name in PACKAGES]
        run(["apt-get", *options, "download", *wanted], f"no packages of {SUITE}", cwd=packages)
        unpacked = work / "unpacked"
        for package in sorted(packages.glob("*.deb")):
            run(["dpkg-deb", "-x", str(package), str(unpacked)], f"{package.name} cannot be unpacked")
        version = run(["dpkg-deb", "-f", str(next(packages.glob("qemu-system-x86_*.deb"))), "Version"], "no version")
        (unpacked / "version").write_text(version)
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)
    except OSError as error:
        raise Unavailable(f"{work}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    if len(sys.argv) != 2:
        print("usage: fetch_qemu10.py FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    if (folder / "version").exists():
        return 0
    print(f"unpacking QEMU of {SUITE} into {folder}", file=sys.stderr)
    try:
        fetch(folder)
    except Unavailable as error:
        print(f"QEMU 10 cannot be had, what needs it is skipped: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
