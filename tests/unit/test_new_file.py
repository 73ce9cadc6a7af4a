"""New files: complete, under a free name, whoever else writes to the folder; a killed writer's leftovers are removed."""

import errno
import itertools
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from retrace_pack.inversion import new_file
from retrace_pack.inversion.new_file import write_new_file

# The module alone, without the pack: it needs only Python, so that a process starts immediately.
WRITER = f"""
import importlib.util, itertools, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("new_file", {new_file.__file__!r})
new_file = importlib.util.module_from_spec(spec)
spec.loader.exec_module(new_file)
folder = Path(sys.argv[1])
names = lambda: (f"cat_{{number:05}}_" for number in itertools.count(1))
"""
PAUSED = """
def pause(handle):
    print("content written", flush=True)
    sys.stdin.readline()
new_file.os.fsync = pause
new_file.write_new_file(folder, names(), b"cat")
"""
ENDLESS = """
content = bytes(range(256)) * 4000
new_file.write_new_file(folder, names(), content)
print("written", flush=True)
while True:
    new_file.write_new_file(folder, names(), content)
"""
MANY = """
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    print(new_file.write_new_file(folder, names(), f"{sys.argv[2]} {number}".encode()).name)
"""


def numbered():
    return (f"cat_{number:05}_" for number in itertools.count(1))


@pytest.fixture
def writer(tmp_path):
    """Start a process that runs a program in the folder, and wait for its first line of output."""
    started = []

    def start(program: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-c", WRITER + program, str(tmp_path), *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_processes_never_take_the_same_name(tmp_path, writer):
    writers = [writer(MANY, which) for which in ("first", "second")]
    for process in writers:
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = [process.communicate(timeout=120)[0].split() for process in writers]
    assert sorted(taken[0] + taken[1]) == names_in(tmp_path) == list(itertools.islice(numbered(), 80))
    for which, names in zip(("first", "second"), taken, strict=True):
        assert [(tmp_path / name).read_text() for name in names] == [f"{which} {number}" for number in range(40)]


def test_what_a_killed_process_leaves_is_removed_by_the_next_one(tmp_path, writer):
    process = writer(PAUSED)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (leftover,) = names_in(tmp_path)
    assert leftover.endswith(new_file.SUFFIX)
    write_new_file(tmp_path, numbered(), b"dog")
    assert names_in(tmp_path) == ["cat_00001_"]


def test_killed_at_any_moment_it_leaves_whole_files_and_one_part_at_most(tmp_path, writer):
    """`dev.py bench saving` does it a hundred times with trajectories."""
    for moment in range(6):
        process = writer(ENDLESS)
        time.sleep(0.007 * moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        named = [path for path in tmp_path.iterdir() if path.suffix != new_file.SUFFIX]
        assert {path.read_bytes() for path in named} == {bytes(range(256)) * 4000}
        assert len(names_in(tmp_path)) - len(named) <= 1
    write_new_file(tmp_path, numbered(), b"dog")
    assert not list(tmp_path.glob(f".*{new_file.SUFFIX}"))


def test_what_a_live_process_is_writing_is_left_alone(tmp_path, writer):
    process = writer(PAUSED)
    assert write_new_file(tmp_path, numbered(), b"dog").name == "cat_00001_"
    process.communicate("go on\n", timeout=120)
    assert process.returncode == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"cat_00001_": b"dog", "cat_00002_": b"cat"}


def test_a_temporary_file_that_was_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    flock, removed = new_file.fcntl.flock, []

    def late(file, operation):
        """Another process sweeps before the first lock is taken."""
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        flock(file, operation)

    monkeypatch.setattr(new_file.fcntl, "flock", late)
    assert write_new_file(tmp_path, ["cat"], b"cat").read_bytes() == b"cat"
    assert len(removed) == 1 and names_in(tmp_path) == ["cat"]


def test_odd_entries_like_temporary_files_do_no_harm(tmp_path):
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / f".folder{new_file.SUFFIX}").mkdir()
    (tmp_path / f".loop{new_file.SUFFIX}").symlink_to(f".loop{new_file.SUFFIX}")
    (tmp_path / f".link{new_file.SUFFIX}").symlink_to("kept")
    assert write_new_file(tmp_path, ["cat"], b"cat").read_bytes() == b"cat"
    assert (tmp_path / "kept").read_bytes() == b"kept"


def test_the_file_and_its_name_are_flushed_to_the_disk(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync

    def recording(handle):
        flushed.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else os.fstat(handle).st_size)
        # The name is flushed once it is there, the content before.
        assert (tmp_path / "cat").exists() == (flushed[-1] == "folder")
        fsync(handle)

    monkeypatch.setattr(new_file.os, "fsync", recording)
    write_new_file(tmp_path, ["cat"], b"content")
    assert flushed == [7, "folder"]


def test_where_there_are_no_hard_links_a_name_is_still_taken_once(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(new_file.os, "link", unsupported)
    written = [write_new_file(tmp_path, numbered(), content).read_bytes() for content in (b"cat", b"dog")]
    assert written == [b"cat", b"dog"] and names_in(tmp_path) == ["cat_00001_", "cat_00002_"]


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_new_file(tmp_path, ["cat"], bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names_in(tmp_path) == []


def test_taken_names_are_never_written_over(tmp_path):
    (tmp_path / "cat").write_bytes(b"first")
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path, ["cat"], b"second")
    assert (tmp_path / "cat").read_bytes() == b"first" and names_in(tmp_path) == ["cat"]
