"""dev.py: how it reports skipped tests, and that a missing browser is a failure if CI is true."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def dev():
    spec = importlib.util.spec_from_file_location("retrace_dev", ROOT / "dev.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["retrace_dev"] = module
    spec.loader.exec_module(module)
    return module


def test_every_reason_for_a_skip_is_told_once(dev):
    skipped = '<skipped type="pytest.skip" message="{}">where</skipped>'
    cases = [
        ("tests.browser.test_frontend", skipped.format("no browser")),
        ("tests.browser.test_frontend", skipped.format("no browser")),
        ("tests.server.test_archive", skipped.format("no git")),
        ("tests.unit.test_belm", ""),
    ]
    body = "".join(f'<testcase classname="{name}">{content}</testcase>' for name, content in cases)
    assert (
        dev.skipped_tests(f"<testsuites><testsuite>{body}</testsuite></testsuites>")
        == "3 tests were skipped: 2 of tests.browser (no browser); 1 of tests.server (no git)"
    )
    assert dev.skipped_tests("<testsuites/>") == "no test was skipped"


@pytest.mark.parametrize(("ci", "outcome"), [("true", "1 error"), ("", "1 skipped")])
def test_a_missing_browser_fails_in_ci_and_is_skipped_elsewhere(ci, outcome):
    """The browser tests themselves, on a machine whose CHROMIUM names nothing."""
    # Inside a worker of pytest-xdist the variables of that worker would reach the inner run.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"CHROMIUM": str(ROOT / "no-such-browser"), "CI": ci}
    done = subprocess.run(
        [sys.executable, "-c", "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))", "--confcutdir", "tests"]
        + ["-p", "no:cacheprovider", "-q", "tests/browser", "-k", "adds_no_error"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert outcome in done.stdout, done.stdout
    assert (done.returncode != 0) == (ci == "true")
