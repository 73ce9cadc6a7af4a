"""The demo as a person runs it: its edit beats img2img at equal success, and its pictures carry the template that made them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_models.photos import PHOTOS

ROOT = Path(__file__).resolve().parent.parent.parent
PICTURES = ("source", "reconstruction", "edit", "img2img", "side-by-side")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(its folder of pictures, its table)"""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, ROOT / "demo" / "run.py", "--output", folder], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^  (\S.*?)  +(\S.*?) *$", done.stdout, re.MULTILINE)
    return folder, dict(rows)


def psnr(row: str) -> float:
    return float(re.search(r"PSNR (\S+) dB", row)[1])


def test_the_edit_beats_img2img_where_both_change_the_color(demo):
    """In the kept region, and in the whole picture against the truth."""
    _, table = demo
    wanted = PHOTOS["ball"].target.solids[0].color
    assert re.fullmatch(rf"{wanted} in the edit, {wanted} in img2img from step \d+", table["Color of the ball"])
    assert psnr(table["Background kept by the edit"]) > psnr(table["Background kept by img2img"])
    assert psnr(table["Edit against the truth"]) > psnr(table["Img2img against the truth"])


def test_the_table_has_the_texts_of_what_ran_only_once(demo):
    _, table = demo
    assert table["Invert"].startswith("250 model evaluations")
    assert psnr(table["Reconstruction against the VAE round trip"]) > 45


def test_the_pictures_are_there_and_open_their_workflow(demo):
    folder, _ = demo
    assert {path.stem for path in folder.iterdir()} == set(PICTURES)
    template = json.loads((ROOT / "workflows" / "7 Invert, rebuild, edit.json").read_text(encoding="utf-8"))
    for name in ("edit", "side-by-side"):
        with Image.open(folder / f"{name}.png") as picture:
            carried = json.loads(picture.info["workflow"])
        assert [node["type"] for node in carried["nodes"]] == [node["type"] for node in template["nodes"]]
        values = {node["title"]: node["widgets_values"] for node in carried["nodes"]}
        assert values["Source prompt"] == [PHOTOS["ball"].before] and values["Target prompt"] == [PHOTOS["ball"].after]
        assert values["Checkpoint"] == ["tiny_sd15.safetensors"]
