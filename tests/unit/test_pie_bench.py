"""PIE-Bench on a set of its shape from the still-life world: the reader, both passes, the metrics with random networks."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from retrace_pack.batch.items import InputError, read_items
from retrace_pack.batch.pie_bench import decode_mask, read_entries
from stub_comfyui import Stub
from torch.nn import functional
from world.pie_set import TYPES, write_pie_set

ROOT = Path(__file__).resolve().parent.parent.parent
COUNT, SIZE = 40, 64
GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Photo"}},
    "2": {"class_type": "Prompt", "inputs": {"text": "x"}, "_meta": {"title": "Source prompt"}},
    "3": {"class_type": "Prompt", "inputs": {"text": "x"}, "_meta": {"title": "Target prompt"}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}, "_meta": {"title": "Save"}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pie")
    write_pie_set(folder, COUNT, SIZE, samples=1)
    (folder / "api.json").write_text(json.dumps(GRAPH))
    return folder


@pytest.fixture(scope="module")
def bench():
    """The benchmark's modules, as when it runs as a script."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import _pie_metrics
    import piebench

    yield piebench, _pie_metrics
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A folder of random networks of the classes that the metrics load, small ones."""
    from torchvision.models import squeezenet1_1
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
        CLIPTokenizer,
        ViTConfig,
        ViTModel,
    )

    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    layers = {"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 2}
    vit = ViTConfig(**layers, num_hidden_layers=2, patch_size=32, image_size=224)
    ViTModel(vit, add_pooling_layer=False).save_pretrained(folder / "dino-vitb8")
    clip = CLIPConfig(
        text_config={**layers, "num_hidden_layers": 1, "vocab_size": 55, "bos_token_id": 53, "eos_token_id": 54},
        vision_config={**layers, "num_hidden_layers": 1, "patch_size": 16, "image_size": 32},
        projection_dim=16,
    )
    CLIPModel(clip).save_pretrained(folder / "clip-vit-large-patch14")
    letters = [chr(code) for code in range(97, 123)]
    words = [*letters, *(f"{letter}</w>" for letter in [*letters, ","]), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(folder / "clip-vit-large-patch14")
    torch.save(squeezenet1_1(weights=None).state_dict(), folder / "squeezenet1_1-b8a52dc0.pth")
    widths = (64, 128, 256, 384, 384, 512, 512)
    heads = {f"lin{n}.model.1.weight": torch.rand(1, width, 1, 1) for n, width in enumerate(widths)}
    torch.save(heads, folder / "squeeze.pth")
    return folder


def test_p15_the_set_has_the_shape_of_the_published_one(data):
    entries = read_entries(data / "mapping_file.json")
    assert len(entries) == COUNT and {each["editing_type_id"] for each in entries.values()} == set(TYPES)
    assert sum(share for share, _ in TYPES.values()) == 700
    for entry in entries.values():
        mask = decode_mask(entry["mask"], SIZE, SIZE)
        assert mask[0].all() and mask[:, -1].all() and mask[1:-1, 1:-1].any()
    items = read_items(data / "mapping_file.json")
    color = next(item for item in items if item.values["type"] == "6")
    assert "[" in entries[color.values["id"]]["original_prompt"] and "[" not in color.values["before"]
    first, second = color.values["blend_words"].split(", ")
    assert first in color.values["before"] and color.values["reweight"] == f"{second}:2"


def test_p15_runs_are_row_by_row_and_cut_at_the_end():
    mask = decode_mask([7, 2, 13, 100], 5, 5)
    assert mask[1, 2:4].tolist() == [1, 1] and mask[2].tolist() == [1, 0, 0, 1, 1] and mask[3:].all()


def test_another_json_file_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"a": {"image": "b.png"}}')
    with pytest.raises(InputError, match="not a mapping file of PIE-Bench"):
        read_items(tmp_path / "a.json")


def test_edits_and_metrics_are_made_once_and_tabulated(data, bench, networks, tmp_path, capsys):
    piebench, _ = bench
    stub = Stub()
    command = ["--data", str(data), "--output", str(tmp_path), "--methods", f"same={data / 'api.json'}"]
    command += ["--server", stub.url, "--device", "cpu", "--set", "Target prompt.text=now {after}"]
    assert piebench.main([*command, "--count", "10"]) == 0 and len(stub.prompts) == 10
    command += ["--networks", str(networks)]
    assert piebench.main([*command, "--count", "10"]) == 0 and len(stub.prompts) == 10
    path = tmp_path / "same" / "metrics.jsonl"
    first = path.read_bytes()
    path.write_bytes(first[:-9])  # torn by a crash
    assert piebench.main(command) == 0 and len(stub.prompts) == COUNT
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len({line["id"] for line in lines}) == len(lines) == COUNT and path.read_bytes()[:50] == first[:50]
    for line in lines:
        jpeg, lossless = line["jpeg"], line["lossless"]
        assert lossless["structure"] == 0 < jpeg["structure"]
        if not math.isnan(lossless["mse"]):  # a style may change every pixel
            assert lossless["psnr"] == math.inf and lossless["lpips"] == 0 and lossless["ssim"] == pytest.approx(1)
            assert jpeg["psnr"] > 20 and jpeg["lpips"] > 0 and 0 < jpeg["ssim"] < 1
    changed = sum(math.isnan(line["jpeg"]["mse"]) for line in lines)
    assert changed < 4 and any(line["jpeg"]["clip_edited"] > 0 for line in lines)
    text = (tmp_path / "table.md").read_text("utf-8")
    assert text in capsys.readouterr().out.replace("\r", "\n")
    mean = sum(line["jpeg"]["structure"] for line in lines) / COUNT
    assert f"| same, jpeg | {COUNT} | {1e3 * mean:.2f} |" in text and f"- ({COUNT} without)" in text
    assert text.count(f"({changed} without)") == (7 if changed else 0)


@pytest.fixture(scope="module")
def pair():
    """Two pictures and a mask of the left half."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    second = np.clip(first.astype(int) + rng.integers(-20, 21, first.shape), 0, 255).astype(np.uint8)
    mask = np.zeros((64, 64), np.float32)
    mask[:, :32] = 1
    return first, second, mask


def test_pixels_are_averaged_over_the_whole_frame(bench, networks, pair):
    _, metrics = bench
    first, second, mask = pair
    found = metrics.Networks.load(networks, "cpu").measure(first, second, mask, "a cat")
    difference = (first[:, 32:].astype(float) - second[:, 32:]) / 255
    assert found["mse"] == pytest.approx((difference**2).sum() / first.size, rel=1e-5)
    assert found["psnr"] == pytest.approx(-10 * math.log10(found["mse"]), abs=1e-6)
    from kornia.metrics import ssim

    black = [torch.from_numpy(np.where(mask[..., None] > 0, 0, image / 255)).movedim(-1, 0)[None] for image in pair[:2]]
    expected = ssim(*black, window_size=11, padding="valid").mean()
    assert found["ssim"] == pytest.approx(float(expected), abs=1e-5)
    everything = metrics.Networks.load(networks, "cpu").measure(first, second, np.ones((64, 64), np.float32), "a cat")
    assert math.isnan(everything["psnr"]) and everything["clip_edited"] == everything["clip_whole"]
    nothing = metrics.Networks.load(networks, "cpu").measure(first, second, np.zeros((64, 64), np.float32), "a cat")
    assert math.isnan(nothing["clip_edited"]) and nothing["mse"] > found["mse"]


def test_structure_compares_the_keys_of_the_last_layer(bench, networks, pair):
    from transformers import ViTModel

    _, metrics = bench
    model = ViTModel.from_pretrained(networks / "dino-vitb8", add_pooling_layer=False).eval()
    maps = []
    for image in pair[:2]:
        # Nearly the formula of the resize without antialiasing; on 0 to 255, not on 0 to 1.
        x = torch.from_numpy(image.copy()).float().movedim(-1, 0)[None]
        x = functional.interpolate(x, size=(224, 224), mode="bilinear", antialias=False)
        x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        with torch.no_grad():
            hidden = model(x, output_hidden_states=True).hidden_states[-2]
            layer = model.layers[-1]
            keys = layer.attention.k_proj(layer.layernorm_before(hidden))[0]
        maps.append(functional.cosine_similarity(keys[:, None], keys[None], dim=-1))
    with torch.no_grad():
        found = metrics.Structure(networks / "dino-vitb8")(*pair[:2])
    assert float(found) == pytest.approx(float(functional.mse_loss(*maps)), rel=1e-3)


def test_the_jpeg_of_an_edit_is_that_of_the_published_strip(bench, pair):
    _, metrics = bench
    first, second, _ = pair
    import io

    encoded = io.BytesIO()
    Image.fromarray(np.hstack([first, first, first, second])).save(encoded, "JPEG")
    strip = np.asarray(Image.open(encoded))
    ours = metrics.as_published(second)
    assert np.array_equal(
        strip[:, -63:], ours[:, 1:]
    )  # the decoder blends the first column's color with its neighbor's


def test_methods_and_the_published_table_fit_together(bench):
    piebench, _ = bench
    assert len(piebench.METHODS) == 9
    for name, method in piebench.METHODS.items():
        assert len(method.published) == (0 if name == "edit-image" else len(piebench.COLUMNS))
    settings = piebench.METHODS["direct+p2p"].all_settings(["Prompt to Prompt.cross_replace=0.8"])
    assert [s.value for s in settings if s.input == "cross_replace"] == ["0.8"]
    assert piebench.main([]) == 0
