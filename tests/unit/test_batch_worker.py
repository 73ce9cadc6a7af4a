"""A worker with a ComfyUI of its own: started again when it dies or hangs, and its disk does not fill."""

from pathlib import Path

import pytest
from retrace_pack.batch.api import AnswerError, ComfyError
from retrace_pack.batch.server import ComfyServer
from retrace_pack.batch.worker import SUBFOLDER, ComfyWorker, Order
from stub_comfyui import Stub

OUT_OF_MEMORY = {"node_type": "KSampler", "exception_type": "torch.OutOfMemoryError", "exception_message": "no room"}


class OwnServer(ComfyServer):
    """A server that the worker takes for its own; the stand-in answers for it."""

    def __init__(self, stub, base):
        super().__init__(base)
        self.stub, self.url, self.base = stub, stub.url, base
        self.stopped = False

    def stop(self):
        self.stopped = True

    def upload(self, name, subfolder, content):
        path = self.base / "input" / subfolder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return super().upload(name, subfolder, content)


def order(key, image="a.png"):
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": f"{SUBFOLDER}/{image}"}},
        "2": {"class_type": "SaveImage", "inputs": {}},
    }
    return Order(key, graph, {image: b"pixels of " + image.encode()})


@pytest.fixture
def started(tmp_path):
    """(stubs, ...) -> a worker with a server for each in turn, and the list of those that have been started."""

    def make(*stubs, timeout=30.0):
        servers, left = [], list(stubs)

        def connect():
            if not left:
                raise OSError(28, "No space left on device")
            servers.append(OwnServer(left.pop(0), tmp_path / str(len(servers))))
            return servers[-1]

        return ComfyWorker(connect, timeout), servers

    return make


def kept(server) -> set[str]:
    return {str(path.relative_to(server.base)) for path in server.base.rglob("*") if path.is_file()}


def save_on_the_server(server: OwnServer, image: str) -> None:
    """What SaveImage of the stand-in says that it has saved."""
    path = server.base / "output" / image
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"saved")


def test_a_servers_files_go_once_the_next_order_has_ended(started):
    worker, (server,) = started(Stub())
    paths = lambda image: {str(Path("input", SUBFOLDER, image)), str(Path("output", image))}  # noqa: E731
    for image, expected in (("a.png", {"a.png"}), ("a.png", {"a.png"}), ("b.png", {"b.png"}), ("a.png", {"a.png"})):
        save_on_the_server(server, image)
        assert worker.run(order(f"{image} again", image)).files
        assert kept(server) == set().union(*map(paths, expected))


def test_a_result_that_was_deleted_is_made_again(started, monkeypatch):
    """ComfyUI's history and its cache name files that somebody may have removed meanwhile."""
    stub = Stub()
    worker, _ = started(stub)
    assert worker.run(order("a")).files
    fetch, calls = OwnServer.fetch, []

    def deleted_at_first(self, image):
        calls.append(image)
        if len(calls) == 1:
            raise AnswerError("GET /view", 404, "")
        return fetch(self, image)

    monkeypatch.setattr(OwnServer, "fetch", deleted_at_first)
    assert worker.run(order("a")).files and len(stub.prompts) == 2
    monkeypatch.setattr(OwnServer, "fetch", lambda self, image: self.request("/nothing"))
    assert worker.run(order("a")).kind == "result gone"


def test_a_server_that_hangs_is_started_again_for_the_next_order(started):
    worker, servers = started(Stub(seconds=600), Stub(), timeout=0.3)
    assert worker.run(order("a")).kind == "timeout" and servers[0].stopped and len(servers) == 2
    assert worker.run(order("a")).files and not servers[1].stopped


def test_a_server_that_dies_and_cannot_be_started_again_fails_the_order(started):
    worker, (server,) = started(Stub())
    server.stub.shutdown()
    server.stub.server_close()
    answer = worker.run(order("a"))
    assert answer.kind == "server died" and "No space left" in answer.message


def test_a_server_that_dies_over_freeing_memory_fails_the_order_alone(started, monkeypatch):
    worker, _ = started(Stub(fault=lambda graph: OUT_OF_MEMORY))
    request = OwnServer.request

    def dying(self, path, *more, **query):
        if path == "/free":
            raise ComfyError("POST /free got no answer")
        return request(self, path, *more, **query)

    monkeypatch.setattr(OwnServer, "request", dying)
    assert worker.run(order("a")).kind == "server died"
