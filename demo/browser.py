"""A Chromium for the browser tests: an installed one, an earlier download, or one that is installed or downloaded now."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

PROGRAMS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge",
    "microsoft-edge-stable", "msedge",
)  # fmt: skip
MAC_APPLICATIONS = ("Google Chrome", "Chromium", "Microsoft Edge")
WINDOWS_PROGRAMS = ("Google/Chrome/Application/chrome.exe", "Microsoft/Edge/Application/msedge.exe")
WINDOWS_FOLDERS = ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")

Run = Callable[[Sequence[str], Mapping[str, str]], "tuple[int, str]"]
"""(command, additional environment) -> exit status and output."""


class NoBrowserError(Exception):
    """No Chromium, Chrome or Edge could be found or installed; the message says what was tried."""


def run(command: Sequence[str], more_environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a program to completion without a terminal."""
    environment = {**os.environ, **more_environment}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def find_browser(downloads: Path, may_install: bool, run: Run = run) -> Path:
    """The executable of a Chromium, Chrome or Edge. Raises NoBrowserError.

    The first of: the one that CHROMIUM names; an installed one; Debian's package, installed now if `may_install` and the user
    is root; Playwright's own Chromium, downloaded into `downloads`.
    """
    if named := os.environ.get("CHROMIUM"):
        if not Path(named).is_file():
            raise NoBrowserError(f"CHROMIUM is {named}, which is not a file")
        return Path(named)
    if installed := next(_installed(), None):
        return installed
    tried = ["none of " + ", ".join(PROGRAMS) + " is installed"]
    if may_install and _is_root_on_debian():
        tried.append(_install_package(run))
        if installed := next(_installed(), None):
            return installed
    try:
        return _downloaded(downloads, run)
    except NoBrowserError as error:
        raise NoBrowserError("; ".join([*tried, str(error)])) from error


def _installed() -> Iterator[Path]:
    yield from (Path(found) for name in PROGRAMS if (found := shutil.which(name)))
    if sys.platform == "darwin":
        places = [Path(f"/Applications/{name}.app/Contents/MacOS/{name}") for name in MAC_APPLICATIONS]
    else:  # these variables are set on Windows only
        folders = [Path(os.environ[name]) for name in WINDOWS_FOLDERS if name in os.environ]
        places = [folder / program for folder in folders for program in WINDOWS_PROGRAMS]
    yield from (place for place in places if place.is_file())


def _is_root_on_debian() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install_package(run: Run) -> str:
    """Install Debian's package; returns the outcome, for a message."""
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        status, output = run(["apt-get", *arguments], {"DEBIAN_FRONTEND": "noninteractive"})
        if status != 0:
            return f"apt-get {arguments[0]} failed ({_last_line(output)})"
    return "apt-get installed the package chromium, but there is no such program"


def _downloaded(downloads: Path, run: Run) -> Path:
    """Playwright's own Chromium in `downloads`, downloaded on first use."""
    environment = {"PLAYWRIGHT_BROWSERS_PATH": str(downloads)}
    status, output = run([sys.executable, "-m", "playwright", "install", "chromium"], environment)
    if status != 0:
        raise NoBrowserError(f"Playwright could not download one ({_last_line(output)})")
    ask = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
    status, output = run([sys.executable, "-c", ask], environment)
    program = Path(_last_line(output))
    if status != 0 or not program.is_file():
        raise NoBrowserError(f"Playwright's download has no program ({_last_line(output)})")
    return program


def _last_line(output: str) -> str:
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "it said nothing")
