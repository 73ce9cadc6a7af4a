"""Faults of the batch command: what is done twice, lost, or taken for something else."""

from .fault import Fault

COMMAND, WORKER = "tests/unit/test_batch_command.py", "tests/unit/test_batch_worker.py"
CHANGED = f"{COMMAND}::test_a_model_file_that_has_changed_under_its_name_is_not_gone_on_with"

FAULTS = (
    Fault(
        "batch/fingerprint.py",
        "digest.update(file.read(PIECE))",
        "digest.update(file.read(0))",
        (CHANGED,),
        "model files of the same size are taken for the same",
    ),
    Fault(
        "batch/ledger.py",
        "models = {**known, **models}",
        "pass",
        (CHANGED,),
        "what was known of a model file is forgotten by a run that cannot read it",
    ),
    Fault(
        "batch/worker.py",
        "for path in self._left - used:",
        "for path in self._left:",
        (f"{WORKER}::test_a_servers_files_go_once_the_next_order_has_ended",),
        "a file that the order names again is removed",
    ),
    Fault(
        "batch/worker.py",
        "if answer.kind in (SERVER, TIMEOUT) and isinstance",
        "if answer.kind in (SERVER,) and isinstance",
        (f"{WORKER}::test_a_server_that_hangs_is_started_again_for_the_next_order",),
        "a server that hangs is given the next order",
    ),
    Fault(
        "batch/worker.py",
        "elif answer.kind in (MEMORY, GONE):",
        "elif answer.kind == MEMORY:",
        (f"{WORKER}::test_a_result_that_was_deleted_is_made_again",),
        "a result that was deleted is asked for until the tries are used up",
    ),
    Fault(
        "batch/tasks.py",
        "name = hashlib.sha256(path.read_bytes()).hexdigest()[:20] + path.suffix.lower()",
        "name = path.name",
        ("tests/unit/test_batch_items.py::test_a_key_names_the_graph_and_the_pixels",),
        "a photo that was changed counts as done",
    ),
    Fault(
        "batch/drive.py",
        "and (not canary or not working)",
        "and (not canary or True)",
        ("tests/unit/test_batch_drive.py::test_a_first_task_that_the_server_rejects_ends_the_batch",),
        "the first row does not run alone",
    ),
)
