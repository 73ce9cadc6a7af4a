"""What runs in the process of a Ray actor: a ComfyWorker whose code comes from the actor's working directory."""

from __future__ import annotations


def actor_class() -> type:
    """The class, which Ray sends by value because it is made in a function: the driver's modules may have other names there."""

    class Worker:
        """Dicts in and out, for the same reason. One call at a time."""

        def __init__(
            self, installation: dict, timeout: float, threads: str | None, models: tuple[str, ...], compared: bool
        ) -> None:
            self._arguments = installation, timeout, models, compared
            _load_batch()
            _set_environment(threads)

        def ready(self) -> dict:
            """Start the server. Facts that all workers must share, and ComfyUI's nodes; or `error`."""
            import socket

            from batch.api import ComfyError  # pyright: ignore[reportMissingImports]
            from batch.installation import Installation  # pyright: ignore[reportMissingImports]
            from batch.items import InputError  # pyright: ignore[reportMissingImports]
            from batch.worker import ComfyWorker  # pyright: ignore[reportMissingImports]

            settings, timeout, models, compared = self._arguments
            installation = Installation(**settings)
            host = socket.gethostname()
            try:
                self._worker = ComfyWorker(installation.server, timeout)
                return {
                    "host": host,
                    "facts": self._worker.facts(),
                    "models": self._worker.models(models),
                    "weights": installation.weights(models) if compared else {},
                    "node_definitions": self._worker.node_definitions(),
                }
            except (ComfyError, InputError, OSError) as error:
                return {"error": f"a worker on {host} could not start: {error}"}

        def run(self, order: dict) -> dict:
            """An Order's fields to an Answer's."""
            from batch.worker import Order  # pyright: ignore[reportMissingImports]

            return vars(self._worker.run(Order(**order)))

        def stop(self) -> None:
            """End the server."""
            self._worker.stop()

    def _load_batch() -> None:
        import importlib.util
        import os
        import sys

        place = os.getcwd()
        spec = importlib.util.spec_from_file_location(
            "batch", f"{place}/__init__.py", submodule_search_locations=[place]
        )
        assert spec is not None and spec.loader is not None
        sys.modules["batch"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["batch"])

    def _set_environment(threads: str | None) -> None:
        """For the server: Ray's search path is not ComfyUI's, and Ray's one thread for torch is too few."""
        import os

        os.environ.pop("PYTHONPATH", None)
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = threads

    return Worker
