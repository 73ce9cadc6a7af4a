"""The house rules that a program can check: which folder imports which, and what no file may contain."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PURE = ("inversion", "samplers", "attention", "editing", "preprocessors", "measuring")
# Folder -> the folders of the pack that it may import. Nobody imports nodes.
MAY_IMPORT = {
    "samplers": {"samplers"},
    "inversion": {"inversion", "samplers"},
    "attention": {"attention", "samplers"},
    "editing": {"editing", "samplers"},
    "preprocessors": {"preprocessors", "samplers"},
    "measuring": {"measuring", "samplers"},
    "host": {"host", *PURE},
    "nodes": {"nodes", "host", *PURE},
}
HOST_MODULES = {
    "comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "node_helpers", "latent_preview", "nodes",
    "execution", "server",
}  # fmt: skip
FILES = sorted(path for folder in MAY_IMPORT for path in (ROOT / folder).glob("*.py")) + [ROOT / "__init__.py"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def source_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(source_of(path))


def imports(path: Path):
    """(level, module) of every import statement; level 0 is absolute."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def top_level_imports(path: Path):
    for node in tree_of(path).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_folders_import_only_those_below_them(path):
    folder = path.parent.name if path.parent != ROOT else None
    for level, module in imports(path):
        if level == 2:
            target = module.split(".")[0]
            assert target in MAY_IMPORT[folder], f"{name_of(path)} imports ..{module}"
        if level == 0:
            first = module.split(".")[0]
            assert first not in MAY_IMPORT or first in HOST_MODULES, f"{name_of(path)} imports {module} absolutely"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_comfyui_is_imported_in_host_alone_and_its_node_api_in_nodes(path):
    found = {module.split(".")[0] for level, module in imports(path) if level == 0} & HOST_MODULES
    if path.parent.name in PURE:
        assert not found
    elif path.parent.name != "host":
        assert found <= {"comfy_api"}


# Core's classes, constants and types, and its nodes by title and id, as far as somebody would think of naming them.
CORE = (
    "ModelPatcher", "CFGGuider", "KSAMPLER", "KSampler", "SamplerCustom", "BaseModel", "EPS", "V_PREDICTION", "CONST", "X0",
    "ModelSamplingDiscrete", "SpatialTransformer", "ControlBase", "model_options", "transformer_options", "patches_replace",
    "LATENT", "SIGMAS", "CONDITIONING", "IMAGE", "MASK", "MODEL", "GUIDER", "SAMPLER", "NOISE",
    "RepeatLatentBatch", "SetLatentNoiseMask", "Set Latent Noise Mask", "DisableNoise", "RandomNoise", "FlipSigmas",
    "Load Image", "Load Checkpoint", "Load CLIP", "Load VAE", "VAE Encode", "VAE Decode", "CLIP Text Encode",
    "Split Image with Alpha", "Apply ControlNet", "Conditioning (Set",
)  # fmt: skip
# Of the pack's node titles those that are the method's own name.
METHOD_NAMES = {"MasaCtrl"}


def node_names() -> set[str]:
    """Ids and titles of the pack's nodes, from their schemas."""
    names = set()
    for path in (ROOT / "nodes").glob("*.py"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.keyword) and node.arg in ("node_id", "display_name"):
                names.add(ast.literal_eval(node.value).removesuffix(" (Retrace)").partition(": ")[0])
    return names


NAMES = node_names()


@cache
def any_name() -> re.Pattern[str]:
    """All the names in one expression, the longer ones first: "Load Image" is no "Load Image Mask"."""
    names = sorted((NAMES - METHOD_NAMES) | set(CORE), key=lambda name: (-len(name), name))
    return re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, names))})(?!\w)")


def named_in(text: str) -> list[str]:
    return sorted(set(any_name().findall(text)))


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name in PURE], ids=name_of)
def test_the_pure_rooms_name_no_node_and_nothing_of_comfyui(path):
    constants = (str(node.value) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant))
    # A message may be broken over lines, where only its constant has the whole name.
    text = "\n".join([source_of(path), *constants])
    assert not named_in(text)
    assert not re.search(r"COMFYUI|Retrace[A-Z]", text)


def test_names_of_nodes_and_of_comfyui_would_be_found():
    assert len(NAMES) >= 60
    assert named_in("connect DDIM Invert (RetraceDDIMInvert)") == ["DDIM Invert", "RetraceDDIMInvert"]
    assert named_in("give a LATENT of KSampler") == ["KSampler", "LATENT"] and not named_in(
        "DDIM inversion, LATENT_SCALE"
    )


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_unet_is_known_to_its_backbone_alone(path):
    words = re.compile(r"UNetModel|SpatialTransformer|ResBlock|\battn[12]\b|patches_replace|activations_shape")
    if path.name not in ("unet.py", "unet_attention.py"):
        assert not words.search(source_of(path))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_slow_or_foreign_libraries_wait_until_they_are_used(path):
    lazy = {"cv2", "transformers", "kornia", "diffusers", "scipy", "torchvision"}
    found = {module.split(".")[0] for module in top_level_imports(path)} & lazy
    if path.parent.name == "preprocessors":
        found -= {"cv2"}
    assert not found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_print_no_bare_except_no_forced_device(path):
    source = path.read_text(encoding="utf-8")
    assert source.isascii()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            assert caught not in ("everything", "BaseException"), "an interrupt of ComfyUI would be swallowed"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "torch.load", "exec", "eval") and not called.endswith(".cuda")
    assert "cuda:0" not in source


@pytest.mark.parametrize("path", sorted((ROOT / "nodes").glob("*.py")), ids=name_of)
def test_a_file_of_several_nodes_stays_under_200_lines(path):
    source = path.read_text(encoding="utf-8")
    nodes = [
        each for each in ast.parse(source).body if isinstance(each, ast.ClassDef) and each.name.startswith("Retrace")
    ]
    assert len(nodes) < 2 or len(source.splitlines()) < 200


def used_names(source: str) -> set[str]:
    """The names that a module's code reads; not names that it only imports, nor those in strings or comments."""
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


def test_every_node_has_a_help_page_and_is_used_by_a_test():
    node_ids = {
        node_id
        for path in (ROOT / "nodes").glob("*.py")
        for node_id in re.findall(r'node_id="(Retrace\w+)"', path.read_text(encoding="utf-8"))
    }
    assert len(node_ids) >= 30
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "component").glob("test_*.py")]
    assert sorted(node_ids - set().union(*map(used_names, tests))) == []
    assert sorted(node_ids - {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}) == []


def test_a_node_that_is_only_mentioned_is_not_used():
    """Nor is one whose name begins another's."""
    source = (
        'from pack import RetraceSave, RetraceLoad\n# RetraceSave\nNAMES = ["RetraceSave"]\nRetraceSaveAll, RetraceLoad'
    )
    assert {"RetraceLoad", "RetraceSaveAll"} <= used_names(source)
    assert "RetraceSave" not in used_names(source)


def test_the_unit_tests_run_without_comfyui():
    for path in (ROOT / "tests" / "unit").glob("*.py"):
        assert not {module.split(".")[0] for level, module in imports(path) if level == 0} & HOST_MODULES
