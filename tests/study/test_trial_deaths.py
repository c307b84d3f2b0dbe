"""A trial that Ray Tune gave up fails with what was wrong, as far as anything tells."""

import pytest

from autogrow.study.trial_deaths import why_it_died

RAISED = """Failure # 1 (occurred at 2026-11-27_17-00-00)
\x1b[36mray::RayTrial.train()\x1b[39m (pid=7, ip=127.0.0.1, actor_id=1, repr=_ray_trial)
  File "/somewhere/ray_process.py", line 4, in _ray_trial
    trial = first(config)
OSError: something else
Failure # 2 (occurred at 2026-11-27_17-00-02)
\x1b[36mray::RayTrial.train()\x1b[39m (pid=8, ip=127.0.0.1, actor_id=2, repr=_ray_trial)
  File "/somewhere/ray/tune/trainable/trainable.py", line 331, in train
    raise skipped from exception_cause(skipped)
  File "/somewhere/ray_process.py", line 5, in _ray_trial
    trial = second(config)
            ^^^^^^^^^^^^^^
{error}
"""
NOT_BUILT = """Failure # 1 (occurred at 2026-11-27_17-00-00)
The actor died unexpectedly before finishing this task.
\tclass_name: RayTrial
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker exits \
unexpectedly. Worker exits with an exit code None. Traceback (most recent call last):
  File "python/ray/_raylet.pyx", line 2198, in ray._raylet.execute_task
  File "/somewhere/function_manager.py", line 9, in _load_actor_class_from_gcs
    actor_class = pickle.loads(pickled_class)
                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^
ModuleNotFoundError: No module named 'mine'

An unexpected internal error occurred while the worker was executing a task.
"""
OF_RAY_ITSELF = """Failure # 1 (occurred at 2026-11-27_17-00-00)
\x1b[36mray::RayTrial.train()\x1b[39m (pid=7, ip=127.0.0.1, actor_id=1, repr=_ray_trial)
AttributeError: it cannot be read here
"""
KILLED = """Failure # 3 (occurred at 2026-11-27_17-00-00)
The actor died unexpectedly before finishing this task.
\tclass_name: RayTrial
\tactor_id: 1
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("ValueError: no such thing", "ValueError: no such thing"),
        ("KeyError", "KeyError"),
        (
            "ValidationError: 2 are wrong\nfirst\n  as it says\nsecond",
            "ValidationError: 2 are wrong first as it says second",
        ),
    ],
)
def test_the_last_error_that_was_raised_there(error, told, tmp_path):
    assert why_it_died(tmp_path, 3, RAISED.format(error=error)) == told


def test_why_a_process_could_not_begin(tmp_path):
    assert why_it_died(tmp_path, 3, OF_RAY_ITSELF) == "AttributeError: it cannot be read here"
    assert why_it_died(tmp_path, 3, NOT_BUILT) == "ModuleNotFoundError: No module named 'mine'"


@pytest.mark.parametrize("errors", ["", KILLED])
def test_a_process_that_said_nothing(errors, tmp_path):
    assert why_it_died(tmp_path, 3, errors).startswith("its process ended 3 times without a word: it was killed")


def test_a_crash_says_where(tmp_path):
    crash = 'Fatal Python error: Segmentation fault\n\nCurrent thread 0x7:\n  File "net.py", line 8 in go\n'
    (tmp_path / "crash-3.txt").write_text(crash)
    told = why_it_died(tmp_path, 3, KILLED)
    assert told == "its process crashed 3 times: Segmentation fault at line 8 of net.py, in go"
    assert "without a word" in why_it_died(tmp_path, 4, KILLED)
