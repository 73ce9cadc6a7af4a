"""The range of percents in which ComfyUI sees a single level of a schedule."""

import pytest
import torch
from retrace_pack.host.conditioning import step_windows
from retrace_pack.inversion.facts import ModelFacts
from retrace_pack.samplers.schedule import make_schedule
from sd_levels import sd_sigmas


@pytest.mark.parametrize("steps", [1, 7, 30, 50, 150, 999])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_every_level_lies_in_its_own_window_alone(spacing, steps):
    """By ComfyUI's rule: a percentage p is the level at timestep (1 - p) * 999, interpolated in the logarithm of sigma, 0 and 1
    are beyond all levels, and an entry is seen while end <= sigma <= start. All in float32, as there."""
    table = sd_sigmas().float()
    log_sigmas = table.log()

    def level(percent: float) -> float:
        if percent <= 0 or percent >= 1:
            return 999999999.9 if percent <= 0 else 0.0
        timestep = torch.tensor((1 - percent) * 999.0)
        below, share = log_sigmas[timestep.floor().long()], timestep.frac()
        return float(((1 - share) * below + share * log_sigmas[timestep.ceil().long()]).exp())

    sigmas = make_schedule(table, steps, spacing).sigmas
    windows = step_windows(sigmas, ModelFacts(table, "epsilon", "SD15", ""))
    assert len(windows) == steps
    assert windows[0][0] == 0.0 and windows[-1][1] == 1.0
    assert all(earlier[1] == later[0] for earlier, later in zip(windows, windows[1:], strict=False))
    bounds = [(level(start), level(end)) for start, end in windows]
    for index, sigma in enumerate(sigmas[:-1].tolist()):
        assert [place for place, (start, end) in enumerate(bounds) if end <= sigma <= start] == [index]


@pytest.mark.parametrize("steps", [1, 4, 28, 1000])
@pytest.mark.parametrize("kind", ["ModelSamplingDiscreteFlow", "ModelSamplingFlux"])
def test_on_a_flow_as_well(steps, kind):
    """By ComfyUI's own rule of its two kinds of flow."""
    import comfy.model_sampling

    sampling = getattr(comfy.model_sampling, kind)()
    model = ModelFacts(sampling.sigmas.float(), "flow", "Flux", "")
    sigmas = model.schedule(steps, "leading", "clean").sigmas
    bounds = [tuple(map(sampling.percent_to_sigma, window)) for window in step_windows(sigmas, model)]
    for index, sigma in enumerate(sigmas[:-1].tolist()):
        assert [place for place, (start, end) in enumerate(bounds) if end <= sigma <= start] == [index]
