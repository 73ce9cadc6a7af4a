"""Files of older format versions are read forever: those in golden/ were written by the version that their names carry."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from retrace_pack.inversion.facts import InversionFacts
from retrace_pack.inversion.methods import METHODS
from retrace_pack.inversion.result import Asks
from retrace_pack.inversion.trajectory_file import VERSION, load_trajectory, save_trajectory
from retrace_pack.samplers.path import RectifiedFlow, VarianceExploding
from safetensors import safe_open

GOLDEN = Path(__file__).resolve().parent / "golden"
STEPS = 3
MADE = {
    "plain": InversionFacts("ddim", STEPS, "trailing", "clean", 1.0, "fedcba9876543210", 2, 9),
    "pair": InversionFacts("edict", STEPS, "trailing", "clean", 5.0, "fedcba9876543210", 0, 9, {"mixing": 0.9}),
    "noise_maps": InversionFacts(
        "edit-friendly", STEPS, "trailing", "clean", 3.5, "fedcba9876543210", 0, 9, {"order": 1, "eta": 0.5}
    ),
}


@pytest.fixture(params=MADE)
def kind(request):
    return request.param


@pytest.fixture
def file(kind):
    return GOLDEN / f"trajectory_3_{kind}.safetensors"


def test_f10_a_file_of_format_3_is_read_as_it_was_written(kind, file):
    with safe_open(file, "pt") as stored:
        assert stored.metadata()["version"] == "3"
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a mapping)
    loaded = load_trajectory(file)
    assert loaded.kind == kind.replace("_", " ") and loaded.inversion == MADE[kind]
    assert isinstance(loaded.model.path, VarianceExploding)
    assert (loaded.model.prediction, loaded.model.latent_format) == ("v_prediction", "SD15")
    found = {
        "latents": loaded.latents, "sigmas": loaded.sigmas, "residuals": loaded.residuals,
        "sigma_table": loaded.model.sigma_table, "pairs": loaded.pairs, "noise_maps": loaded.noise_maps,
    }  # fmt: skip
    if loaded.null_text is not None:
        found |= {
            f"null_text.{name}": getattr(loaded.null_text, name) for name in ("embeddings", "pooled", "residuals")
        }
        assert (loaded.null_text.cfg, loaded.null_text.settings) == (7.5, ("control",))
    assert {name for name, tensor in found.items() if tensor is not None} == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_f10_it_can_be_continued_and_saved_again(kind, file, tmp_path):
    loaded = load_trajectory(file)
    assert METHODS[loaded.inversion.method].stores == loaded.kind
    path = save_trajectory(loaded, tmp_path, ["again.safetensors"])
    with safe_open(path, "pt") as stored:
        assert stored.metadata()["version"] == str(VERSION) == "4"
    assert torch.equal(load_trajectory(path).latents, loaded.latents)


@pytest.mark.parametrize("name", ["flow", "aligned"])
def test_f10_a_file_of_format_4_is_read_as_it_was_written(name):
    """What format 4 added: flows, frames, embedded guidance, and where the network was evaluated."""
    file = GOLDEN / f"trajectory_4_{name}.safetensors"
    with safe_open(file, "pt") as stored:
        assert stored.metadata()["version"] == "4"
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a mapping)
    loaded = load_trajectory(file)
    found = {
        "latents": loaded.latents, "sigmas": loaded.sigmas, "residuals": loaded.residuals,
        "sigma_table": loaded.model.sigma_table, "asks.offsets": loaded.asks.offsets, "asks.levels": loaded.asks.levels,
        "asks.corrections": loaded.asks.corrections,
    }  # fmt: skip
    assert {name for name, tensor in found.items() if tensor is not None} == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    made = {
        "flow": InversionFacts("uni", STEPS, "simple", "clean", 1.0, "fedcba9876543210", 0, 4, guidance=1.0),
        "aligned": InversionFacts("ddim", STEPS, "trailing", "clean", 1.0, "fedcba9876543210", 2, 9),
    }
    assert loaded.inversion == made[name] and loaded.latents.ndim == {"flow": 6, "aligned": 5}[name]
    assert loaded.model.path == {"flow": RectifiedFlow(), "aligned": VarianceExploding()}[name]


@pytest.mark.parametrize("corrected", [True, False])
def test_offsets_come_back_and_others_are_refused(file, tmp_path, corrected):
    loaded = load_trajectory(file)
    offsets, levels = loaded.latents[1:] / 8, loaded.sigmas[1:] / 2
    asks = Asks(offsets, levels, offsets + 1 if corrected else None)
    plain = replace(loaded, pairs=None, noise_maps=None, inversion=MADE["plain"], asks=asks)
    again = load_trajectory(save_trajectory(plain, tmp_path, ["asks.safetensors"])).asks
    assert torch.equal(again.offsets, offsets) and torch.equal(again.levels, levels)
    assert torch.equal(again.corrections, offsets + 1) if corrected else again.corrections is None
    for number, changes in enumerate(
        (
            {"offsets": offsets[1:]},
            {"levels": levels[1:]},
            {"levels": 0 * levels},
            {"offsets": offsets * float("nan")},
            {"corrections": offsets[..., :2]},
        )
    ):
        path = save_trajectory(replace(plain, asks=replace(asks, **changes)), tmp_path, [f"bad{number}.safetensors"])
        with pytest.raises(ValueError, match="is not a usable trajectory: its offsets do not fit"):
            load_trajectory(path)


def test_a_flow_keeps_its_path_and_its_frames(file, tmp_path):
    loaded = load_trajectory(file)
    model = replace(loaded.model, prediction="flow", latent_format="Wan21", noise_scale=2.0)
    made = replace(loaded.inversion, method="ddim", settings={}, spacing="simple")
    flow = replace(
        loaded,
        model=model,
        inversion=made,
        latents=loaded.latents.unsqueeze(3),
        pairs=None,
        noise_maps=None,
        null_text=None,
    )
    again = load_trajectory(save_trajectory(flow, tmp_path, ["flow.safetensors"]))
    assert again.model.path == RectifiedFlow(2.0) and again.inversion == made
    assert again.latents.shape == (STEPS + 1, 1, 4, 1, 4, 4) and torch.equal(again.latents, flow.latents)
    assert again.predicted_clean().shape == again.latents[1:].shape
