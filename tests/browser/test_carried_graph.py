"""A help page's picture, dropped onto the frontend, opens the graph that it carries, with every value and link."""

import base64
import json
from pathlib import Path

import pytest
from PIL import Image

PICTURES = Path(__file__).resolve().parent.parent.parent / "web" / "docs" / "pictures"
OPEN = """async ([name, data]) => {
    const bytes = Uint8Array.from(atob(data), each => each.charCodeAt(0))
    await app.handleFile(new File([bytes], name, {type: 'image/webp'}), 'file_drop')
}"""


# The second has an input that belongs to one choice of a combo; the last is drawn, and carries an example.
@pytest.mark.parametrize("node_id", ["RetraceDDIMInvert", "RetraceAttentionMask", "RetraceFlowInvert"])
def test_a_picture_opens_its_graph(frontend, node_id):
    path = PICTURES / f"{node_id}.webp"
    with Image.open(path) as picture:
        carried = json.loads(picture.getexif()[0x0110].removeprefix("prompt:"))
    frontend.page.evaluate(OPEN, [path.name, base64.b64encode(path.read_bytes()).decode()])
    frontend.page.wait_for_function("count => app.rootGraph.nodes.length === count", arg=len(carried))
    opened = frontend.page.evaluate("async () => (await app.graphToPrompt()).output")
    for name, node in carried.items():
        assert opened[name]["class_type"] == node["class_type"]
        assert {key: opened[name]["inputs"].get(key) for key in node["inputs"]} == node["inputs"]
