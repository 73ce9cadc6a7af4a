"""Where the browser tests find a Chromium: installed, named, installed by apt, downloaded by Playwright, or not at all."""

import os
from pathlib import Path

import browser
import pytest
from browser import NoBrowserError, find_browser


class Machine:
    """Stands in for the programs that would be run: each returns a status and a text, and may create a program."""

    def __init__(self, **answers):
        self.answers = answers
        self.commands = []

    def __call__(self, command, environment):
        self.commands.append(" ".join(command))
        for word, answer in self.answers.items():
            if word in self.commands[-1]:
                return answer() if callable(answer) else answer
        return 1, "no such thing"


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without any browser; programs can be added to the returned folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browser.sys, "platform", "linux")
    for name in ("CHROMIUM", *browser.WINDOWS_FOLDERS):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(0o755)
    return path


def root_on_debian(monkeypatch, bare, is_root=True):
    program(bare / "apt-get")
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0 if is_root else 1000, raising=False)


@pytest.mark.skipif(os.name == "nt", reason="programs are found by their suffix on Windows")
@pytest.mark.parametrize("name", browser.PROGRAMS)
def test_an_installed_browser_is_used_and_nothing_is_run(bare, name):
    machine = Machine()
    installed = program(bare / name)
    assert find_browser(bare / "downloads", True, machine) == installed
    assert not machine.commands


def test_the_named_browser_goes_first_and_must_exist(bare, monkeypatch):
    program(bare / "chromium")
    monkeypatch.setenv("CHROMIUM", str(program(bare / "elsewhere" / "mine")))
    assert find_browser(bare, False, Machine()) == bare / "elsewhere" / "mine"
    monkeypatch.setenv("CHROMIUM", str(bare / "missing"))
    with pytest.raises(NoBrowserError, match=r"CHROMIUM is .*missing, which is not a file"):
        find_browser(bare, False, Machine())


def test_edge_on_windows_is_found_in_its_folder(bare, monkeypatch):
    monkeypatch.setenv("PROGRAMFILES(X86)", str(bare))
    edge = program(bare / browser.WINDOWS_PROGRAMS[1])
    assert find_browser(bare, False, Machine()) == edge


@pytest.mark.skipif(os.name == "nt", reason="programs are found by their suffix on Windows")
def test_root_on_debian_installs_the_package_where_that_is_allowed(bare, monkeypatch):
    root_on_debian(monkeypatch, bare)

    def install():
        program(bare / "chromium")
        return 0, "done"

    machine = Machine(update=(0, ""), install=install)
    assert find_browser(bare, True, machine) == bare / "chromium"
    assert [command.split()[:2] for command in machine.commands] == [["apt-get", "update"], ["apt-get", "install"]]


@pytest.mark.parametrize(("may_install", "is_root"), [(False, True), (True, False)])
def test_without_leave_or_rights_playwright_downloads_its_own(bare, monkeypatch, may_install, is_root):
    root_on_debian(monkeypatch, bare, is_root)
    downloaded = program(bare / "downloads" / "chrome")
    machine = Machine(**{"install chromium": (0, ""), "executable_path": (0, f"{downloaded}\n")})
    assert find_browser(bare / "downloads", may_install, machine) == downloaded
    assert not [command for command in machine.commands if command.startswith("apt-get")]


def test_where_everything_fails_the_message_says_what_was_tried(bare, monkeypatch):
    root_on_debian(monkeypatch, bare)
    machine = Machine(**{"apt-get": (100, "E: no network\n"), "playwright": (1, "Error: no download\n\n")})
    with pytest.raises(NoBrowserError) as failure:
        find_browser(bare, True, machine)
    for words in ("none of chromium", "apt-get update failed (E: no network)", "Playwright", "Error: no download"):
        assert words in str(failure.value)
