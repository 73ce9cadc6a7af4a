"""Malicious files are refused early with a short message, and what was loaded stays unchanged."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from malformed_trajectories import malformed_files
from retrace_pack.inversion import trajectory_file
from retrace_pack.inversion.trajectory import InversionFacts
from retrace_pack.inversion.trajectory_file import MAX_HEADER, load_trajectory
from safetensors.torch import save
from whole_trajectories import outcome

STEPS = 3
ROOT = Path(__file__).resolve().parent.parent.parent
LATENTS = torch.randn(STEPS + 1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
TENSORS = {
    "latents": LATENTS,
    "sigmas": torch.linspace(0, 14, STEPS + 1),
    "residuals": torch.zeros(STEPS),
    "sigma_table": torch.linspace(0.03, 14.6, 50),
}
MODEL = {"prediction": "epsilon", "latent_format": "SD15", "weights": "abc"}
INVERSION = asdict(InversionFacts("ddim", STEPS, "leading", "clean", 1.0, "digest"))


def content(tensors=None, model=None, inversion=None, metadata=None) -> bytes:
    """A trajectory file with some of its parts replaced."""
    facts = {
        "model": json.dumps({**MODEL, **(model or {})}),
        "inversion": json.dumps({**INVERSION, **(inversion or {})}),
    }
    named = {"format": "retrace.trajectory", "version": "3", **facts, **(metadata or {})}
    return save({**TENSORS, **(tensors or {})}, named)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "odd.safetensors"


def refusal(path: Path, written: bytes) -> str:
    path.write_bytes(written)
    with pytest.raises(ValueError, match=r"^odd\.safetensors ") as refused:
        load_trajectory(path)
    assert len(str(refused.value)) < 500
    return str(refused.value)


def test_the_plain_content_is_a_trajectory(path):
    path.write_bytes(content())
    assert torch.equal(load_trajectory(path).latents, LATENTS)


def test_a_loaded_trajectory_does_not_change_with_its_file(path):
    path.write_bytes(content())
    loaded = load_trajectory(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(loaded.latents, LATENTS)
    for name in ("sigmas", "residuals"):
        assert torch.equal(getattr(loaded, name), TENSORS[name])
    assert torch.equal(loaded.model.sigma_table, TENSORS["sigma_table"])


def test_a_file_that_shrinks_after_loading_does_not_kill_the_process(path):
    """A page of a memory map beyond the file's end is a SIGBUS. The latents are many pages, the last ones far behind the cut."""
    path.write_bytes(content({"latents": torch.ones(STEPS + 1, 1, 4, 64, 64)}))
    program = f"""
import importlib.util, os, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("pack", {str(ROOT / "__init__.py")!r}, submodule_search_locations=[{str(ROOT)!r}])
sys.modules["pack"] = importlib.util.module_from_spec(spec)
from pack.inversion.trajectory_file import MAX_HEADER, load_trajectory
loaded = load_trajectory(Path({str(path)!r}))
os.truncate({str(path)!r}, 100)
print(float(loaded.latents.mean()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "1.0"), done.stderr


def test_a_huge_header_is_refused_before_it_is_read(path, monkeypatch):
    """1.5 million empty tensors in a 96 MB header once took 2.2 GB. The length alone, the first eight bytes, must be enough."""
    with path.open("wb") as file:
        file.write((96 * 2**20).to_bytes(8, "little"))
        file.truncate(96 * 2**20 + 8)
    monkeypatch.setattr(trajectory_file.json, "loads", lambda *_: pytest.fail("the header was parsed"))
    monkeypatch.setattr(trajectory_file, "load", lambda *_: pytest.fail("the tensors were read"))
    with pytest.raises(
        ValueError, match=f"odd.safetensors is .*not a Retrace trajectory: .* at most {MAX_HEADER} bytes"
    ):
        load_trajectory(path)


def test_tensors_that_save_trajectory_does_not_write_are_refused_before_they_are_read(path, monkeypatch):
    monkeypatch.setattr(trajectory_file, "load", lambda *_: pytest.fail("the tensors were read"))
    message = refusal(path, content({f"empty{n}": torch.zeros(0) for n in range(3000)}))
    assert "it holds 3000 unknown entries (empty0, " in message


@pytest.mark.parametrize("more", [{"metadata": {"evil": "1"}}, {"model": {"evil": 1}}, {"inversion": {"evil": 1}}])
def test_unknown_keys_are_refused(path, more):
    assert "evil" in refusal(path, content(**more))


LONG = "long" * 50_000


@pytest.mark.parametrize(
    "crafted",
    [
        {"inversion": {"method": LONG}},
        {"inversion": {"method": "edict", "settings": {LONG: 1.0}}, "tensors": {"noise_maps": LATENTS[1:].clone()}},
        {"inversion": {"prompts": LONG}},
        {"inversion": {LONG: 1}},
        {"model": {"latent_format": LONG}},
        {"model": {"weights": LONG}},
        {"model": {LONG: 1}},
        {"metadata": {"version": LONG}},
        {"metadata": {LONG: "1"}},
        {"tensors": {LONG: torch.zeros(1)}},
        {"inversion": {"cfg": 10**400}},
        {"inversion": {"cfg": float("nan")}},
        {"inversion": {"cfg": float("inf")}},
        {"inversion": {"fixed_point_iterations": LONG}},
        {"inversion": {"fixed_point_iterations": -1}},
        {"inversion": {"unet_evaluations": float("nan")}},
        {"inversion": {"settings": {"eta": 10**400}}},
    ],
)
def test_long_or_absurd_values_are_refused_in_a_short_sentence(path, crafted):
    assert LONG not in refusal(path, content(**crafted))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" * 5000, '{"cfg": ' + "9" * 5000 + "}", "\ud800", "[1]", "null", '"x"'], ids=range(7)
)
@pytest.mark.parametrize("name", ["model", "inversion", "null_text_cfg", "null_text_settings"])
def test_json_that_breaks_the_parser_is_refused(path, name, text):
    parts = {"null_text_cfg": "7.5", "null_text_settings": "[]", name: text.encode("utf-8", "replace").decode()}
    refusal(path, content({"null_text.embeddings": torch.zeros(STEPS, 2, 2)}, metadata=parts))


@pytest.mark.parametrize(
    "header", [b"", b"[]", b"{", b"[" * 100_000, b"\xff\xfe", b'{"__metadata__": []}', b'{"latents": 5}']
)
def test_a_header_that_is_none_is_refused(path, header):
    refusal(path, len(header).to_bytes(8, "little") + header)


def test_what_follows_the_tensors_is_never_read(path, monkeypatch):
    """A file of a few kilobytes with a hole of eight gigabytes behind it once took a minute and as much memory."""
    path.write_bytes(content())
    os.truncate(path, 2**40)
    monkeypatch.setattr(trajectory_file, "load", lambda *_: pytest.fail("the tensors were read"))
    with pytest.raises(ValueError, match=f"it has {2**40} bytes, but its header describes {len(content())}"):
        load_trajectory(path)


def test_a_whole_file_that_is_larger_than_the_memory_is_refused(path, monkeypatch):
    def too_large(*_):
        raise MemoryError

    path.write_bytes(content())
    monkeypatch.setattr(trajectory_file, "load", too_large)
    with pytest.raises(ValueError, match=r"odd\.safetensors needs more memory than is free; free some, or"):
        load_trajectory(path)


def test_what_a_library_says_of_a_file_is_not_told(path):
    for crafted in (
        {"tensors": {"sigmas": torch.zeros(0)}, "metadata": {"inversion": "{}"}},
        {"metadata": {"inversion": "5"}},
        {"metadata": {"null_text_cfg": "1"}},
    ):
        told = refusal(path, content(**crafted))
        assert re.search(r"incomplete \((a part of it is missing|its header cannot be read)\)", told), told


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=malformed_files())
def test_a_malformed_file_is_refused_in_a_sentence_or_can_be_used(path, file):
    """`dev.py bench fuzz` tries as many as one likes."""
    file.write(path)
    outcome(path)
