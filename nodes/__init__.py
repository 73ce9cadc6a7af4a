"""ComfyUI V3 nodes: schema, unpack, one call, NodeOutput. Every node is listed in this file."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .attention_mask import RetraceAttentionMask
from .blend_mask import RetraceBlendMask
from .ddim_sample import RetraceDDIMSample
from .ddim_sampler import RetraceSamplerDDIM
from .depth_to_image import RetraceDepthToImage
from .edit_image import RetraceEditImage
from .editing import RetraceEditSample
from .estimate import RetraceDrawPose, RetraceEstimateDepth, RetraceEstimatePose
from .exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from .flow_inversion import RetraceFlowInvert
from .full_size import RetraceChangedRegion, RetraceWorkingCrop
from .hints import RetracePreprocessor
from .inpainting import RetraceLatentBlend, RetraceLatentBlendSample
from .inversion import RetraceDDIMInvert
from .masactrl import RetraceMasaCtrl
from .measuring import RetraceCompareImages
from .negative_prompt import RetraceNegativePrompt
from .null_text import RetraceNullTextConditioning, RetraceNullTextOptimize
from .pixel_composite import RetracePixelComposite
from .plug_and_play import RetracePlugAndPlay
from .prompt_to_prompt import RetracePromptToPrompt
from .proximal_guidance import RetraceProximalGuidance
from .schedules import RetraceDDIMScheduler, RetraceSchedulePlot
from .trajectory import RetraceLoadTrajectory, RetraceSaveTrajectory, RetraceTrajectoryLatent, RetraceTrajectoryPreview
from .trajectory_noise import RetraceTrajectoryNoise

NODES: tuple[type[io.ComfyNode], ...] = (
    RetraceEditImage,
    RetraceDDIMScheduler,
    RetraceSchedulePlot,
    RetraceSamplerDDIM,
    RetraceDDIMSample,
    RetraceDDIMInvert,
    RetraceExactInvert,
    RetraceEditFriendlyInvert,
    RetraceFlowInvert,
    RetraceTrajectoryLatent,
    RetraceTrajectoryNoise,
    RetraceTrajectoryPreview,
    RetraceSaveTrajectory,
    RetraceLoadTrajectory,
    RetraceNullTextOptimize,
    RetraceNullTextConditioning,
    RetraceNegativePrompt,
    RetraceProximalGuidance,
    RetraceEditSample,
    RetracePromptToPrompt,
    RetraceMasaCtrl,
    RetracePlugAndPlay,
    RetraceAttentionMask,
    RetraceLatentBlend,
    RetraceLatentBlendSample,
    RetraceBlendMask,
    RetracePixelComposite,
    RetraceWorkingCrop,
    RetraceChangedRegion,
    RetraceDepthToImage,
    RetraceCompareImages,
    RetracePreprocessor,
    RetraceDrawPose,
    RetraceEstimateDepth,
    RetraceEstimatePose,
)
"""Every node of the pack. A new node is one import and one line here."""


class RetraceExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)
