"""ComfyUI's own frontend in Chromium with this pack; the miniature stands in for every model that the templates name."""

import json
import os
import re
from pathlib import Path

import pytest
from browser import NoBrowserError, find_browser
from playwright.sync_api import sync_playwright
from retrace_pack.batch.server import ComfyServer
from tiny_models import photos

ROOT = Path(__file__).resolve().parent.parent.parent
MINIATURE = ROOT / ".dev" / "miniatures" / "tiny_sd15.safetensors"
LOADER = ROOT / "tests" / "tiny_models" / "loader"
TEMPLATES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "workflows").glob("*.json")}
NOTEBOOK = "7 Invert, rebuild, edit"
SCREENSHOTS = ROOT / ".dev" / "screenshots"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 600_000  # milliseconds; a first page on a busy machine takes long
# Nothing lies over the canvas (a first visit opens the Templates), and texts are drawn however small they are.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,
    "Comfy.Workflow.ShowMissingModelsWarning": True,
}


@pytest.fixture(scope="session")
def chromium(request):
    in_ci = os.environ.get("CI", "").lower() in ("1", "true")
    try:
        program = find_browser(ROOT / ".dev" / "browsers", in_ci or request.config.getoption("--install-browser"))
    except NoBrowserError as error:
        # Where nobody reads the list of what was skipped, a missing browser must not look like a success.
        (pytest.fail if in_ci else pytest.skip)(
            f"no browser: {error}; install Chrome, Chromium or Edge, or name its program in CHROMIUM"
        )
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(chromium):
    nodes = [node for template in TEMPLATES.values() for node in template["nodes"]]
    named = [model for node in nodes for model in node["properties"].get("models", [])]
    models = {f"{model['directory']}/{model['name']}": MINIATURE for model in named}
    running = ComfyServer(
        Path(os.environ["COMFYUI_PATH"]),
        custom_nodes={"retrace": ROOT, "tiny_models": LOADER},
        models=models,
        arguments=("--preview-method", "latent2rgb"),
        start_timeout=PATIENCE / 1000,
    )
    running.start()
    running.request("/settings", SETTINGS)
    photos.write(running.base / "input", ["ball"])
    (running.base / "input" / "ball.png").rename(running.base / "input" / "example.png")
    yield running
    running.stop()


FIRST_GRAPH = "Comfy-Org/z_image_turbo"
"""A bare ComfyUI opens a graph of its own and asks for its models, on a busy machine only when a template is open already."""


class Frontend:
    """A page of a running ComfyUI."""

    def __init__(self, chromium, server):
        self.errors: list[str] = []
        self.page = chromium.new_page(viewport={"width": 1900, "height": 1050})
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(re.sub(r"\d+", "#", str(error))))
        self.page.goto(server.url)
        self.page.wait_for_function("window.app?.graph && Object.keys(LiteGraph.registered_node_types).length > 300")
        self.page.wait_for_load_state("networkidle")
        self.opening_errors = set(self.errors)
        """What the page said before anything was opened: a bare ComfyUI has a few missing files of its own."""

    def _note(self, message) -> None:
        if message.type == "error" and FIRST_GRAPH not in message.text:
            # An address without its port, a message without its numbers: the same in every run.
            where = re.sub(r"^\w+://[^/]*|\?.*", "", message.location.get("url", ""))
            self.errors.append(re.sub(r"\d+", "#", f"{message.text} {where}"))

    def open(self, template: dict, as_app: bool = False) -> None:
        """As a graph, whatever it says of itself, or as it says: as an app."""
        extra = (
            template["extra"]
            if as_app
            else {key: template["extra"][key] for key in template["extra"] if key != "linearMode"}
        )
        self.errors.clear()
        self.page.evaluate(
            "async graph => { await app.loadGraphData(graph, true, true, null) }", {**template, "extra": extra}
        )
        self.page.wait_for_function("count => app.graph.nodes.length === count", arg=len(template["nodes"]))

    def prompt(self) -> dict:
        """The prompt that the frontend would queue."""
        return self.page.evaluate("async () => (await app.graphToPrompt()).output")

    def show_everything(self) -> None:
        """What a run adds to the nodes: a picture, a live preview and a line of text on each that can show one."""
        self.page.evaluate(
            """async () => {
                const canvas = new OffscreenCanvas(512, 512)
                canvas.getContext('2d').fillRect(0, 0, 512, 512)
                const blob = await canvas.convertToBlob({type: 'image/png'})
                const form = new FormData()
                form.append('image', blob, 'black.png')
                await app.api.fetchApi('/upload/image', {method: 'POST', body: form})
                const images = [{filename: 'black.png', subfolder: '', type: 'input'}]
                for (const node of app.graph.nodes) {
                    const id = String(node.id)
                    const {name, output_node: shows} = node.constructor.nodeData ?? {}
                    const where = {node: id, display_node: id, prompt_id: 'shown'}
                    if (name === 'ImageCompare')
                        app.api.dispatchCustomEvent('executed', {...where, output: {a_images: images, b_images: images}})
                    else if (shows || /Optimize/.test(name))
                        app.api.dispatchCustomEvent('executed', {...where, output: {images}})
                    if (/Invert|Sample|Optimize|EditImage/.test(name))
                        app.api.dispatchCustomEvent('b_preview_with_metadata', {
                            blob, nodeId: id, displayNodeId: id, realNodeId: id, parentNodeId: id, promptId: 'shown',
                        })
                    if (/^Retrace.*(Invert|Sample|Optimize|EditImage)/.test(name))
                        app.api.dispatchCustomEvent('progress_text', {nodeId: id, text: '250 model evaluations'})
                }
            }"""
        )

    def set_renderer(self, vue: bool) -> None:
        """Nodes drawn by Vue ("Nodes 2.0"), or on the canvas."""
        self.page.evaluate(
            "async vue => { await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue) }", vue
        )
        self.page.wait_for_function("vue => !!LiteGraph.vueNodesMode === vue", arg=vue)

    def boxes(self) -> dict[str, tuple[float, float, float, float]]:
        """Title -> what a node covers (left, top, right, bottom), as it is drawn, in the graph's own measure."""
        return self.page.evaluate(
            """() => Object.fromEntries(app.graph.nodes.map(node => {
                const shown = document.querySelector(`[data-node-id="${node.id}"]`)
                const {left, top} = app.canvas.canvas.getBoundingClientRect()
                const {scale, offset} = app.canvas.ds
                const titled = LiteGraph.NODE_TITLE_HEIGHT
                if (!LiteGraph.vueNodesMode || !shown) {
                    const [x, y] = node.pos
                    return [node.title, [x, y - titled, x + node.size[0], y + (node.flags.collapsed ? 0 : node.size[1])]]
                }
                const box = shown.getBoundingClientRect()
                const graphed = (side, start, axis) => (side - start) / scale - offset[axis]
                return [node.title, [
                    graphed(box.left, left, 0), graphed(box.top, top, 1), graphed(box.right, left, 0), graphed(box.bottom, top, 1),
                ]]
            }))"""
        )

    def wait_for_text(self, text: str) -> None:
        self.page.wait_for_function("text => document.body.innerText.includes(text)", arg=text)

    def wait_for_node(self, title: str) -> None:
        self.page.wait_for_function("title => app.graph.nodes.some(node => node.title === title)", arg=title)

    def wait_until_drawn(self) -> None:
        """Wait two frames: the first draws the changes, the second means that they are on the screen."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def screenshot(self, name: str) -> None:
        """Save the whole graph as an artifact of the run."""
        self.page.evaluate(
            """() => {
                const boxes = [...app.graph.nodes, ...app.graph.groups].map(each => [...each.pos, ...each.size])
                const [left, top] = [0, 1].map(axis => Math.min(...boxes.map(box => box[axis])) - 40)
                const [right, bottom] = [0, 1].map(axis => Math.max(...boxes.map(box => box[axis] + box[axis + 2])) + 40)
                const {width, height} = app.canvas.canvas.getBoundingClientRect()
                // Beside the menus, which lie over the canvas.
                const scale = Math.min((width - 100) / (right - left), (height - 140) / (bottom - top))
                app.canvas.ds.scale = scale
                app.canvas.ds.offset = [80 / scale - left, 70 / scale - top]
                app.canvas.setDirty(true, true)
            }"""
        )
        self.wait_until_drawn()
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.fixture(scope="session")
def frontend(chromium, server):
    """One page for all tests, because it takes long to load."""
    opened = Frontend(chromium, server)
    yield opened
    opened.page.close()


@pytest.fixture(params=sorted(TEMPLATES))
def template(request):
    return request.param, TEMPLATES[request.param]


@pytest.fixture
def small_edit(set_value):
    """The notebook path on a small picture, in few steps."""
    edit = json.loads(json.dumps(TEMPLATES[NOTEBOOK]))
    titled = {node["title"]: node for node in edit["nodes"]}
    set_value(titled["Resize"], megapixels=(128 / 1024) ** 2)
    set_value(titled["Invert"], steps=10, fixed_point_iterations=0)
    set_value(titled["Start step"], value=3)
    for title in ("Rebuild", "Edit under the target prompt"):
        set_value(titled[title], steps=10)
    return edit


@pytest.fixture(scope="session")
def set_value(server, widget_names):
    """Set widgets of a stored node by name."""
    object_info = server.get("/object_info")

    def set_widgets(node: dict, **values) -> None:
        names = widget_names(node, object_info)
        for name, value in values.items():
            node["widgets_values"][names.index(name)] = value

    return set_widgets
