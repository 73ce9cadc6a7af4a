"""The output folder: nothing lost by a crash, nothing shared by two processes."""

import json

import pytest
from retrace_pack.batch.items import InputError
from retrace_pack.batch.ledger import Entry, Ledger


def test_what_is_committed_is_there_afterward(tmp_path):
    with Ledger(tmp_path, {"workflow": "w"}) as ledger:
        ledger.commit(Entry("a-1", "done", ("a-1.png",), row={"after": "\u732b"}), {"a-1.png": b"picture"})
    assert (tmp_path / "images" / "a-1.png").read_bytes() == b"picture"
    with Ledger(tmp_path, {"workflow": "w"}) as ledger:
        assert ledger.entries["a-1"].row == {"after": "\u732b"} and ledger.entries["a-1"].status == "done"


def test_a_torn_line_is_cut_and_its_item_done_again(tmp_path):
    with Ledger(tmp_path, {}) as ledger:
        for key in ("a", "b"):
            ledger.commit(Entry(key, "done"), {})
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    with Ledger(tmp_path, {}) as ledger:
        assert set(ledger.entries) == {"a"}
        ledger.commit(Entry("b", "failed", kind="node"), {})
    assert [json.loads(line)["key"] for line in path.read_text("utf-8").splitlines()] == ["a", "b"]


def test_a_disk_that_is_full_leaves_no_line(tmp_path, monkeypatch):
    from retrace_pack.batch import ledger as module

    def full(*_):
        raise OSError(28, "No space left on device")

    with Ledger(tmp_path, {}) as ledger:
        monkeypatch.setattr(module.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            ledger.commit(Entry("a", "done", ("a.png",)), {"a.png": b"x"})
    assert (tmp_path / "ledger.jsonl").read_bytes() == b"" and not (tmp_path / "images" / "a.png").exists()


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    Ledger(tmp_path, {"workflow": "a", "set": []}).__exit__()
    with pytest.raises(InputError, match="other settings .workflow."):
        Ledger(tmp_path, {"workflow": "b", "set": []})
    Ledger(tmp_path, {"workflow": "a", "set": []}).__exit__()


def test_the_folder_has_one_writer_at_a_time(tmp_path):
    with Ledger(tmp_path, {}), pytest.raises(InputError, match="Another batch"):
        Ledger(tmp_path, {})
    with Ledger(tmp_path, {}) as ledger:
        assert ledger.entries == {}
