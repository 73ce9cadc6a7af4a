"""Faults of samplers/."""

from .fault import Fault

DDIM, PATH, SCHEDULE = ("tests/unit/test_ddim_step.py",), ("tests/unit/test_path.py",), ("tests/unit/test_schedule.py",)
MULTISTEP, PROXIMAL = ("tests/unit/test_sampling_multistep.py",), ("tests/unit/test_proximal.py",)
BLENDING, MASK = ("tests/unit/test_blending.py",), ("tests/unit/test_blend_mask.py",)
NOISE, COMPOSITE = ("tests/unit/test_noise.py",), ("tests/unit/test_pixel_composite.py",)

FAULTS = (
    Fault(
        "samplers/ddim.py",
        "image = limited if denoised_range.recompute_eps else denoised",
        "image = denoised",
        DDIM,
        "eps is not taken from the limited image",
    ),
    Fault("samplers/ddim.py", ".clamp(1.0, max(1.0,", ".clamp(0.0, max(1.0,", DDIM, "small images are stretched"),
    Fault(
        "samplers/ddim.py",
        "limited + sigma_next * direction",
        "limited + sigma * direction",
        DDIM,
        "a step stays at its level",
    ),
    Fault(
        "samplers/ddim.py",
        "x = after_step(step, x)",
        "after_step(step, x)",
        ("tests/unit/test_blending.py",),
        "what changes x after a step is lost",
    ),
    Fault("samplers/multistep.py", "gain / 2 if rule", "gain if rule", MULTISTEP, "a weight twice as large"),
    Fault("samplers/multistep.py", "1 - gain / h", "1 + gain / h", MULTISTEP, "a sign in phi_2"),
    Fault(
        "samplers/multistep.py",
        "        denoised_old = denoised\n",
        "        denoised_old = denoised_old if step else denoised\n",
        MULTISTEP,
        "the first prediction stays the old one",
    ),
    Fault("samplers/noise.py", "(seeds[0] + row) % 2**64", "seeds[0]", NOISE, "rows do not count up"),
    Fault(
        "samplers/noise.py",
        "(seed,) * batch if same_for_every_row else (seed,)",
        "(seed,)",
        NOISE,
        "the same seed for every row counts up",
    ),
    Fault(
        "samplers/noise_levels.py",
        "((1 - alphas) / alphas).sqrt()",
        "(1 - alphas).sqrt() / alphas",
        ("tests/unit/test_noise_levels.py",),
        "sigma is noise over signal power",
    ),
    Fault(
        "samplers/path.py",
        "x * (self.variance(s_query) / self.variance(s)) ** 0.5",
        "x * (self.variance(s) / self.variance(s_query)) ** 0.5",
        PATH,
        "the scale of another level is upside down",
    ),
    Fault("samplers/path.py", "slope * query - x0", "slope * query + x0", PATH, "a sign in the preimage"),
    Fault("samplers/path.py", "b_up = eta * b_next", "b_up = b_next", PATH, "eta is lost"),
    Fault("samplers/path.py", "b_next**2 - b_up**2", "b_next**2", PATH, "added noise is not taken from the old"),
    Fault("samplers/path.py", "return s * self.noise_scale", "return s", PATH, "the noise scale is lost"),
    Fault(
        "samplers/path.py",
        "def k(self, s: Tensor) -> Tensor:\n        return 1 / (1 + s**2)",
        "def k(self, s: Tensor) -> Tensor:\n        return torch.ones_like(s)",
        PATH,
        "an image follows its state at every level alike",
    ),
    Fault(
        "samplers/path.py",
        "self.b(s) * self.a(s_next) / (self.a(s) * self.b(s_next))",
        "self.b(s_next) * self.a(s) / (self.a(s_next) * self.b(s))",
        PATH,
        "the signal falls where it rises",
    ),
    Fault(
        "samplers/prediction.py",
        "- output * sigma / (1 + sigma**2) ** 0.5",
        "+ output * sigma / (1 + sigma**2) ** 0.5",
        DDIM,
        "a sign in v-prediction",
    ),
    Fault("samplers/schedule.py", "index * stride + steps_offset", "index * stride", SCHEDULE, "the offset is lost"),
    Fault(
        "samplers/schedule.py",
        "round(length - index * (length / steps)) - 1",
        "round(length - index * (length / steps)) - 2",
        SCHEDULE,
        "trailing spacing is one row off",
    ),
    Fault(
        "samplers/schedule.py",
        "self.timesteps[start_step:end_step]",
        "self.timesteps[start_step : end_step + 1]",
        SCHEDULE,
        "a window has one timestep too many",
    ),
    Fault(
        "samplers/schedule.py",
        ">= sigma * (1 - SAME_LEVEL)",
        "> sigma * (1 + SAME_LEVEL)",
        SCHEDULE,
        "a call at a level belongs to the step before",
    ),
    Fault("samplers/proximal.py", "difference.sign() * (", "(", PROXIMAL, "the sign is lost"),
    Fault(
        "samplers/proximal.py",
        "(trajectory_state - x) * (1 - edited)",
        "(trajectory_state - x) * edited",
        PROXIMAL,
        "what is edited is pulled back",
    ),
    Fault(
        "samplers/proximal.py", "    if dilation:\n", "    if dilation > 1:\n", PROXIMAL, "a dilation of 1 is ignored"
    ),
    Fault(
        "samplers/proximal.py",
        "torch.quantile(rows, quantile, dim=1)",
        "torch.quantile(rows, quantile).expand(len(rows))",
        PROXIMAL,
        "one threshold for every row",
    ),
    Fault(
        "samplers/blending.py",
        "torch.lerp(self.states[upper - 1], self.states[upper],",
        "torch.lerp(self.states[upper], self.states[upper - 1],",
        BLENDING,
        "the ends of a segment are swapped",
    ),
    Fault(
        "samplers/blending.py",
        "self.states[upper] - self.sigmas[upper] * slope",
        "self.states[upper] - self.sigmas[upper - 1] * slope",
        BLENDING,
        "the image is drawn from the wrong level",
    ),
    Fault(
        "samplers/blending.py",
        "kept * (1 - mask) + x * mask",
        "kept * mask + x * (1 - mask)",
        BLENDING,
        "kept and painted are swapped",
    ),
    Fault(
        "samplers/blending.py",
        "path.to_unit(background.at(sigma), sigma)",
        "path.to_unit(background.at(sigma_next), sigma_next)",
        BLENDING,
        "legacy is not one level too noisy",
    ),
    Fault(
        "samplers/blending.py",
        "blend(x, clean if finished and step == last",
        "blend(x, clean if step == last",
        BLENDING,
        "an unfinished run loses its noise",
    ),
    Fault(
        "samplers/blending.py",
        "mask = sigmas[step], sigmas[step + 1], masks[step + 1]",
        "mask = sigmas[step], sigmas[step + 1], masks[step]",
        ("tests/unit/test_inpaint_references.py",),
        "the mask of the step before",
    ),
    Fault("samplers/blending.py", "mask >= thresholds", "mask > thresholds", BLENDING, "a pixel is free a step late"),
    Fault("samplers/blending.py", "3 + 2 * index", "1 + 2 * index", BLENDING, "the masks shrink from a smaller one"),
    Fault(
        "samplers/blending.py",
        "min(int(steps * strength), steps)",
        "round(steps * strength)",
        BLENDING,
        "the steps of a strength are rounded",
    ),
    Fault("samplers/blend_mask.py", "sign = 1 if pixels > 0 else -1", "sign = 1", MASK, "a mask never shrinks"),
    Fault(
        "samplers/blend_mask.py",
        'mode="replicate"), kernel)',
        'mode="constant"), kernel)',
        MASK,
        "a feathered mask fades at the border",
    ),
    Fault(
        "samplers/blend_mask.py", "mask >= 1 - margin", "mask > 1 - margin", MASK, "the margin itself is not snapped"
    ),
    Fault(
        "samplers/blend_mask.py",
        'F.avg_pool2d if method == "area"',
        'F.max_pool2d if method == "area"',
        MASK,
        "area takes the maximum",
    ),
    Fault(
        "samplers/pixel_composite.py", "/ (pixels + 1)", "/ pixels", COMPOSITE, "the feather reaches 1 a pixel early"
    ),
    Fault(
        "samplers/pixel_composite.py", "* gain + means[1]", "* gain + means[0]", COMPOSITE, "the color is not matched"
    ),
    Fault(
        "samplers/pixel_composite.py",
        "far.any(2, keepdim=True).any(1, keepdim=True), far, mask == 0)",
        "far.any(2, keepdim=True).any(1, keepdim=True), mask == 0, far)",
        COMPOSITE,
        "what bleeds over the edge counts",
    ),
)
