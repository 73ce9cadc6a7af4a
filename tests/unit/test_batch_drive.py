"""The driver's queue with a pool that answers as it is told: retries, the canary, reasons to stop."""

from collections import Counter
from pathlib import Path

import pytest
from retrace_pack.batch.drive import ALL_DONE, GIVEN_UP, NOTHING_BEGUN, SOME_FAILED, STOPPED, Stop, drive
from retrace_pack.batch.items import Item
from retrace_pack.batch.ledger import Ledger
from retrace_pack.batch.tasks import Task
from retrace_pack.batch.worker import Answer


class Answering:
    """Two places; every task ends at the next look. `kinds(key, try)` says how."""

    def __init__(self, kinds):
        self.kinds, self.given, self.tries, self.most = kinds, [], Counter(), 0

    def free(self):
        return 2 - len(self.given)

    def start(self, task):
        task.order()
        self.given.append(task)
        self.tries[task.key] += 1
        self.most = max(self.most, len(self.given))

    def finished(self, timeout):
        given, self.given = self.given, []
        kinds = [self.kinds(task.key, self.tries[task.key]) for task in given]
        return [(t, Answer(t.key, {} if k else {f"{t.key}.png": b"x"}, k)) for t, k in zip(given, kinds, strict=True)]


def tasks(count):
    return [Task(str(number), Item(str(number), None, None, {}), {}, {}) for number in range(count)]


def run(tmp_path, kinds, count=5, **options):
    pool = Answering(kinds)
    with Ledger(tmp_path, {}) as ledger:
        status = drive(pool, tasks(count), ledger, options.pop("stop", Stop()), **options)
        return status, pool, ledger.entries


def test_every_task_is_done_once(tmp_path):
    status, pool, entries = run(tmp_path, lambda key, number: "")
    assert status == ALL_DONE and len(entries) == 5 and set(pool.tries.values()) == {1} and pool.most == 2
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [f"{n}.png" for n in range(5)]


def test_the_first_task_runs_alone(tmp_path):
    order = []
    status, pool, _ = run(tmp_path, lambda key, number: order.append((key, len(order))) or "")
    assert order[0] == ("0", 0) and pool.tries["0"] == 1 and status == ALL_DONE
    alone = Answering(lambda key, number: "")
    with Ledger(tmp_path / "b", {}) as ledger:
        drive(alone, tasks(1), ledger, Stop())
    assert alone.most == 1


def test_a_first_task_that_the_server_rejects_ends_the_batch(tmp_path):
    status, pool, entries = run(tmp_path, lambda key, number: "rejected")
    assert status == NOTHING_BEGUN and set(pool.tries) == {"0"} and len(entries) == 1


@pytest.mark.parametrize("kind", ["timeout", "memory", "server died", "worker died"])
def test_what_may_pass_is_tried_three_times(tmp_path, kind):
    status, pool, entries = run(tmp_path, lambda key, number: kind if key == "3" else "")
    assert status == SOME_FAILED and pool.tries["3"] == 3 and entries["3"].tries == 3
    status, pool, entries = run(tmp_path / "b", lambda key, number: kind if (key, number) == ("3", 1) else "")
    assert status == ALL_DONE and pool.tries["3"] == 2


def test_a_nodes_own_message_is_not_tried_again(tmp_path):
    status, pool, entries = run(tmp_path, lambda key, number: "node" if key == "3" else "")
    assert status == SOME_FAILED and pool.tries["3"] == 1 and entries["3"].kind == "node"


def test_equal_failures_in_a_row_end_the_batch(tmp_path):
    status, _, entries = run(tmp_path, lambda key, number: "node" if int(key) > 3 else "", count=40, max_failures=4)
    assert status == GIVEN_UP and len(entries) <= 9
    status, _, entries = run(
        tmp_path / "b", lambda key, number: "node" if int(key) % 2 else "", count=20, max_failures=4
    )
    assert status == SOME_FAILED and len(entries) == 20


def test_a_file_that_cannot_be_read_any_more_fails_alone(tmp_path):
    gone = Task("gone", Item("gone", None, None, {}), {}, {"a.png": Path(tmp_path / "gone.png")})
    with Ledger(tmp_path, {}) as ledger:
        status = drive(Answering(lambda key, number: ""), [*tasks(2), gone, *tasks(2)[:0]], ledger, Stop())
        assert status == SOME_FAILED and ledger.entries["gone"].kind == "input" and len(ledger.entries) == 3


def test_the_first_signal_finishes_what_is_in_work(tmp_path):
    stop = Stop()
    status, pool, entries = run(tmp_path, lambda key, number: stop.ask() or "" if key == "1" else "", stop=stop)
    assert status == STOPPED and not stop.now and len(entries) == sum(pool.tries.values()) == 3
    stop.ask()
    assert stop.now
