"""Where a batch runs: the options of its commands, and the pool of workers that they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path

from .api import ComfyApi
from .installation import Installation
from .items import InputError
from .pools import OneWorker, Pool
from .worker import ComfyWorker
from .workflow import model_files

PACK = Path(__file__).resolve().parent.parent


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `pool_of` reads."""
    parser.add_argument("--server", help="the address of a running ComfyUI, for example http://127.0.0.1:8188")
    parser.add_argument("--comfyui", type=Path, help="the folder of ComfyUI; default: COMFYUI_PATH of the machine")
    parser.add_argument("--models", type=Path, help="a folder such as ComfyUI/models, instead of that")
    parser.add_argument("--pack", type=Path, action="append", default=[], help="a further custom node pack's folder")
    parser.add_argument("--comfyui-argument", action="append", default=[], metavar="ARGUMENT")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="how many ComfyUIs run at once, with Ray (default: one, without Ray)"
    )
    parser.add_argument("--ray-address", metavar="ADDRESS", help='of a Ray cluster; "auto" on one of its machines')
    parser.add_argument("--gpus-per-worker", type=float, metavar="G", help="default 1 if there are any")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for one item (default 1800)")


def pool_of(options: argparse.Namespace, named: object) -> Pool:
    """One worker, with a server of its own or one that is already running, or Ray's.

    `named` is the workflow and its settings: the model files that they name must be equal on all machines, and stay as they are.
    """
    models = model_files(named)
    if options.server:
        if options.workers or options.ray_address:
            raise InputError(["--workers start a ComfyUI each; leave out --server."])
        return OneWorker(ComfyWorker(lambda: _running(options.server), options.timeout), models)
    installation = _installation(options)
    if not options.workers and not options.ray_address:
        return OneWorker(ComfyWorker(installation.server, options.timeout), models)
    from .ray_pool import Cluster, RayPool

    cluster = Cluster(options.workers or 1, options.ray_address, options.gpus_per_worker)
    return RayPool(cluster, installation, options.timeout, models)


def _installation(options: argparse.Namespace) -> Installation:
    return Installation(
        PACK,
        options.comfyui and options.comfyui.resolve(),
        options.models and options.models.resolve(),
        tuple(path.resolve() for path in options.pack),
        tuple(options.comfyui_argument),
        None if options.ray_address else options.output.resolve() / "work",
    )


def _running(url: str) -> ComfyApi:
    api = ComfyApi()
    api.url = url.rstrip("/")
    api.get("/system_stats")
    return api
