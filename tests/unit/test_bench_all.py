"""`dev.py bench all`: no benchmark is forgotten, and what one prints is in the report."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def everything(monkeypatch):
    """The module."""
    spec = importlib.util.spec_from_file_location("bench_all", ROOT / "benchmarks" / "all.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("COMFYUI_PATH", str(Path("somewhere") / "ComfyUI-9.9.9"))
    return module


def test_every_benchmark_is_run_or_has_a_reason_not_to_be(everything):
    there = {path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")} - {"all"}
    assert set(everything.REDUCED) | set(everything.APART) == there
    assert not set(everything.REDUCED) & set(everything.APART)


def test_the_report_has_commands_output_and_what_failed(everything, monkeypatch, tmp_path):
    (tmp_path / "good.py").write_text("import sys; print('| table |', *sys.argv[1:])")
    (tmp_path / "bad.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(everything, "HERE", tmp_path)
    monkeypatch.setattr(everything, "REDUCED", {"good": ("--count", "2"), "bad": ()})
    monkeypatch.setattr(sys, "argv", ["all.py", "--output", str(tmp_path / "report.md")])
    assert everything.main() == 1
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "ComfyUI-9.9.9; torch " in report
    assert "## good\n\n`python dev.py bench good --count 2`\n\n| table | --count 2\n" in report
    assert "failed with status 3" in report
    monkeypatch.setattr(sys, "argv", ["all.py", "good", "--full", "--output", str(tmp_path / "report.md")])
    assert everything.main() == 0
    assert "`python dev.py bench good`\n\n| table |\n" in (tmp_path / "report.md").read_text(encoding="utf-8")
