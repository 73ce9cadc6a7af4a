"""A stand-in for ComfyUI's HTTP API: each prompt takes a moment, and gives back the picture that it loads.

Run as a program it prints its address; prompts are queued and done one after the other, in a thread.
"""

import json
import re
import sys
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OBJECT_INFO = {}
FACTS = {"system": {"comfyui_version": "0", "python_version": "3", "pytorch_version": "2"}}


class Stub(ThreadingHTTPServer):
    """`fault(graph)` returns None, or the execution_error's data."""

    daemon_threads = True

    def __init__(self, seconds: float = 0.0, fault=lambda graph: None, port: int = 0):
        super().__init__(("127.0.0.1", port), Handler)
        self.seconds, self.fault = seconds, fault
        self.files, self.records, self.pending, self.prompts, self.models = {}, {}, [], [], []
        self.queued = threading.Condition()
        self.url = f"http://127.0.0.1:{self.server_port}"
        for work in (self.serve_forever, self.work):
            threading.Thread(target=work, daemon=True).start()

    def work(self):
        while True:
            with self.queued:
                while not self.pending:
                    self.queued.wait()
                prompt_id, graph = self.pending[0]
            time.sleep(self.seconds)
            data = self.fault(graph)
            messages = [["execution_error", data]] if data else []
            image = next((n["inputs"]["image"] for n in graph.values() if n["class_type"] == "LoadImage"), None)
            shown = {node: {"images": [{"filename": image.rpartition("/")[2], "subfolder": "", "type": "output"}]}
                     for node, content in graph.items() if content["class_type"] == "SaveImage"}  # fmt: skip
            with self.queued:
                self.records[prompt_id] = {"outputs": shown, "status": {"messages": messages}}
                self.pending.pop(0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, content, status=200):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query))
        if address.path == "/system_stats":
            return self.answer(FACTS)
        if address.path == "/experiment/models":
            return self.answer([{"name": "checkpoints", "folders": [str(folder) for folder in self.server.models]}])
        if address.path == "/object_info":
            return self.answer(OBJECT_INFO)
        if address.path == "/queue":
            with self.server.queued:
                running = [[0, prompt_id] for prompt_id, _ in self.server.pending]
            return self.answer({"queue_running": running, "queue_pending": []})
        if address.path.startswith("/history/"):
            prompt_id = address.path.rpartition("/")[2]
            record = self.server.records.get(prompt_id)
            return self.answer({prompt_id: record} if record else {})
        if address.path == "/view":
            return self.answer(self.server.files[query["filename"]])
        return self.answer({}, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/upload/image":
            name = re.search(rb'filename="([^"]+)"', body)[1].decode()
            self.server.files[name] = body.partition(b"octet-stream\r\n\r\n")[2].rpartition(b"\r\n--")[0]
            return self.answer({"name": name, "subfolder": "retrace-batch"})
        if self.path == "/prompt":
            payload = json.loads(body)
            if any(node["class_type"] == "Missing" for node in payload["prompt"].values()):
                return self.answer({"error": {"message": "no such node"}, "node_errors": {}}, 400)
            prompt_id = payload.get("prompt_id") or str(uuid.uuid4())
            with self.server.queued:
                self.server.prompts.append(prompt_id)
                self.server.pending.append((prompt_id, payload["prompt"]))
                self.server.queued.notify()
            return self.answer({"prompt_id": prompt_id})
        return self.answer({})


def run_as_comfyui(seconds: float, fault=lambda graph: None):
    """What a stand-in's main.py does: serve at the address that a ComfyServer asks for, until the process ends."""
    Stub(seconds, fault, int(sys.argv[sys.argv.index("--port") + 1]))
    threading.Event().wait()


if __name__ == "__main__":
    stub = Stub(float(sys.argv[1]))
    print(stub.url, flush=True)
    threading.Event().wait()
