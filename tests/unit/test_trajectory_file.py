"""Saving and loading: everything comes back, a damaged file gives an error in words and leaves nothing behind."""

import json
from dataclasses import asdict

import pytest
import torch
from retrace_pack.inversion import trajectory_file
from retrace_pack.inversion.trajectory import InversionFacts, ModelFacts, Trajectory
from retrace_pack.inversion.trajectory_file import load_trajectory, save_trajectory
from safetensors.torch import save_file

STEPS = 4


@pytest.fixture
def trajectory(sigma_table):
    generator = torch.Generator().manual_seed(0)
    return Trajectory(
        torch.randn(STEPS + 1, 2, 4, 8, 8, generator=generator),
        torch.linspace(0, 14, STEPS + 1),
        torch.rand(STEPS, generator=generator),
        ModelFacts(sigma_table.float(), "v_prediction", "SD15", "abc"),
        InversionFacts("ddim", STEPS, "trailing", "first", 2.5, "digest", 3, 16),
    )


def write(path, tensors, metadata):
    save_file(tensors, str(path), metadata)
    return path


def parts(trajectory):
    model = asdict(trajectory.model)
    tensors = {
        "latents": trajectory.latents,
        "sigmas": trajectory.sigmas,
        "residuals": trajectory.residuals,
        "sigma_table": model.pop("sigma_table"),
    }
    metadata = {"format": "retrace.trajectory", "version": "1", "model": json.dumps(model)}
    return tensors, {**metadata, "inversion": json.dumps(asdict(trajectory.inversion))}


def test_everything_comes_back(trajectory, tmp_path):
    save_trajectory(trajectory, tmp_path / "cat.safetensors")
    loaded = load_trajectory(tmp_path / "cat.safetensors")
    for name in ("latents", "sigmas", "residuals"):
        assert torch.equal(getattr(loaded, name), getattr(trajectory, name))
    assert torch.equal(loaded.model.sigma_table, trajectory.model.sigma_table)
    assert loaded.inversion == trajectory.inversion
    assert (loaded.model.prediction, loaded.model.latent_format, loaded.model.weights) == (
        "v_prediction",
        "SD15",
        "abc",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["cat.safetensors"]


def test_an_interrupted_save_leaves_nothing_behind(trajectory, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(trajectory_file, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_trajectory(trajectory, tmp_path / "cat.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 4, 100, 2000, -1])
def test_a_truncated_file_is_refused(trajectory, tmp_path, keep):
    path = tmp_path / "cut.safetensors"
    save_trajectory(trajectory, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"cut.safetensors is damaged or incomplete .*save the trajectory again"):
        load_trajectory(path)


def test_another_safetensors_file_is_refused(tmp_path):
    path = write(tmp_path / "lora.safetensors", {"weight": torch.zeros(2)}, {"format": "pt"})
    with pytest.raises(ValueError, match="lora.safetensors is a safetensors file but not a Retrace trajectory"):
        load_trajectory(path)


def test_a_newer_version_is_refused(trajectory, tmp_path):
    tensors, metadata = parts(trajectory)
    path = write(tmp_path / "new.safetensors", tensors, {**metadata, "version": "3"})
    with pytest.raises(ValueError, match="has format version 3, this pack reads 2; update Retrace"):
        load_trajectory(path)


def test_metadata_that_is_no_json_or_lacks_fields_is_refused(trajectory, tmp_path):
    tensors, metadata = parts(trajectory)
    for broken in ({"inversion": "{"}, {"inversion": "{}"}, {"model": '{"evil": 1}'}, {"model": "[]"}):
        path = write(tmp_path / "crafted.safetensors", tensors, {**metadata, **broken})
        with pytest.raises(ValueError, match="crafted.safetensors is damaged or incomplete"):
            load_trajectory(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": torch.zeros(3, 2, 4, 8, 8)}, "do not fit together"),
        ({"latents": torch.zeros(5, 4, 8, 8)}, "do not fit together"),
        ({"sigmas": torch.linspace(14, 0, 5)}, "its sigmas do not ascend"),
        ({"sigmas": torch.tensor([0.0, 1.0, float("nan"), 3.0, 4.0])}, "its sigmas do not ascend"),
        ({"latents": torch.full((5, 2, 4, 8, 8), float("inf"))}, "a latent is missing, NaN or infinite"),
        ({"latents": torch.zeros(5, 2, 4, 8, 8, dtype=torch.float16)}, "its tensors are not float32"),
        ({"residuals": torch.zeros(9)}, "it should have 4 steps and as many residuals"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(trajectory, tmp_path, change, message):
    tensors, metadata = parts(trajectory)
    path = write(tmp_path / "odd.safetensors", {**tensors, **change}, metadata)
    with pytest.raises(ValueError, match=f"odd.safetensors is not a usable trajectory: .*{message}"):
        load_trajectory(path)
