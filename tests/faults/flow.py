"""Faults of what flows brought: the aligned way back, their solvers, and states handed to stock samplers."""

from .fault import Fault

ALIGNED, SOLVERS = ("tests/unit/test_aligned.py",), ("tests/unit/test_flow_solvers.py",)
COMPONENT = "tests/component"
MODELS, ROLES = f"{COMPONENT}/test_flow_models.py", f"{COMPONENT}/test_flow_roles.py"

FAULTS = (
    Fault(
        "inversion/aligned.py",
        "offsets = torch.stack([query - state for",
        "offsets = torch.stack([state - query for",
        ALIGNED,
        "the offset has the wrong sign",
    ),
    Fault(
        "inversion/aligned.py",
        "step = len(sigmas) - 2 - step_at(sigmas, sigma)",
        "step = step_at(sigmas, sigma)",
        ALIGNED,
        "the offsets are taken from the image's end",
    ),
    Fault(
        "inversion/aligned.py",
        "image = x - sigma * direction(query, denoise(query, level), level)",
        "image = query - sigma * direction(query, denoise(query, level), level)",
        ALIGNED,
        "the step begins at the network's input, not at the state",
    ),
    Fault(
        "inversion/ddim.py",
        "answered += [denoised] if fixed_point_iterations else []",
        "answered += []",
        ALIGNED,
        "iterated inversions are not corrected",
    ),
    Fault(
        "inversion/flow_solvers.py",
        "level, query = (s + s_next) / 2, x + (s_next - s) / 2 * velocity",
        "level, query = s_next, x + (s_next - s) / 2 * velocity",
        SOLVERS,
        "the middle of the step is evaluated at its end",
    ),
    Fault(
        "inversion/flow_solvers.py",
        "if velocity is None or not reuse:",
        "if velocity is None:",
        SOLVERS,
        "RF-Solver takes FireFlow's shortcut",
    ),
    Fault(
        "inversion/flow_solvers.py",
        "query = x + (s_next - s) * velocity",
        "query = x",
        SOLVERS,
        "the next state is not guessed",
    ),
    Fault(
        "host/trajectory_noise.py",
        "state = latent_format.process_out(latent_format.process_in(state) / a)",
        "state = state / a",
        (f"{MODELS}::test_f2_a_latent_continues_in_ksampler_advanced_between_the_ends[flux]",),
        "the shift of the latent format is divided as well",
    ),
    Fault(
        "host/trajectory_noise.py",
        "return noise * path.b(sigma) / path.c(sigma) if is_highest and path.a(sigma) == 1 else noise",
        "return noise",
        (f"{MODELS}::test_the_noise_of_a_state_works_on_sd_as_well",),
        "ComfyUI's own weight of the noise at the highest level is forgotten",
    ),
    Fault(
        "host/latents.py",
        "return process_in(difference) - process_in(torch.zeros_like(difference))",
        "return process_in(difference)",
        (f"{MODELS}::test_f7_noise_maps_come_back_at_any_cfg[flux-1.0]",),
        "a difference is shifted like a state",
    ),
    Fault(
        "host/roles.py",
        '(slice(0, 1), "source", "source_negative", self.source_cfg),',
        '(slice(0, 1), "source", "source_negative", self.cfg),',
        (ROLES,),
        "the source is guided as the edit is",
    ),
    Fault(
        "host/edit_guidance.py",
        "source = with_guidance(source, made.guidance)",
        "pass",
        (f"{ROLES}::test_each_row_is_what_it_is_alone",),
        "the source does not keep the guidance of the inversion",
    ),
    Fault(
        "host/gradients.py",
        "with _OutOfPlace() if isinstance(module, DIT_BLOCKS) else nullcontext():",
        "with nullcontext():",
        (f"{COMPONENT}/test_flow_null_text.py",),
        "recomputed blocks of Flux add in place",
    ),
    Fault(
        "inversion/facts.py",
        "return 1 - (row + 1) / len(self.sigma_table)",
        "return 1 - row / len(self.sigma_table)",
        (f"{COMPONENT}/test_step_windows.py",),
        "the windows of a flow are shifted by a row",
    ),
    Fault(
        "host/gradients.py",
        "if not any(isinstance(module, (*CHECKPOINTED, *DIT_BLOCKS)) for module in network.modules()):",
        "if False:",
        (f"{COMPONENT}/test_flow_null_text.py::test_other_networks_are_refused_before_they_are_evaluated",),
        "null embeddings are optimized for a network that rewrites its prompts",
    ),
    Fault(
        "host/conditioning.py",
        "return (source, empty)[int(amount)]",
        "pass",
        (f"{COMPONENT}/test_flow_aligned.py::test_the_source_prompt_as_the_negative_brings_it_back_at_any_cfg",),
        "a repeated prompt stands in for the source prompt where image and text are seen together",
    ),
    Fault(
        "host/embedded_guidance.py",
        "return None if guidance is None else float(guidance)",
        "return ABSENT if guidance is None else float(guidance)",
        (f"{COMPONENT}/test_flow_invert.py::test_guidance_that_is_disabled_stays_so_on_the_way_back",),
        "guidance that was disabled comes back for the source",
    ),
)
