"""Whatever a model does to the process it runs in, the next trial there finds the process as it was."""

import sys
import threading
from pathlib import Path

import pytest
import torch

from autogrow.study import process_state
from autogrow.study.process_state import SETTINGS, kept_process_state
from autogrow.study.trial import run_trial
from autogrow.training.ending import Signal
from autogrow.training.records import TrialFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "not_spoilt")]
IMPORTS = (
    "import gc, io, locale, logging, os, random, signal, socket, sys, threading, warnings\nimport numpy as np, torch"
)
CHANGES = {
    "import path": "sys.path.insert(0, '/nowhere')",
    "warning filters": "warnings.simplefilter('ignore')",
    "default dtype": "torch.set_default_dtype(torch.float64)",
    "default device": "torch.set_default_device('meta')",
    "deterministic algorithms": "torch.use_deterministic_algorithms(True, warn_only=True)",
    "filling of fresh memory": "torch.utils.deterministic.fill_uninitialized_memory = False",
    "threads of PyTorch": "torch.set_num_threads(3)",
    "gradient mode": "torch._C._set_grad_enabled(False)",
    "anomaly detection": "torch.autograd.set_detect_anomaly(True, check_nan=False)",
    "matmul precision": "torch.set_float32_matmul_precision('medium')",
    "switches of PyTorch's back ends": "torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark",
    "autocast": "torch.set_autocast_enabled('cpu', True)",
    "autocast cache": "torch.set_autocast_cache_enabled(False)",
    "flushing of denormal numbers": "torch.set_flush_denormal(True)",
    "global module hooks": "nn.modules.module.register_module_forward_hook(lambda *_: None)",
    "NumPy's error handling": "np.seterr(all='raise')",
    "environment": "os.environ['LEFT_BEHIND'] = '1'",
    "working directory": "os.chdir('/')",
    "locale": "locale.setlocale(locale.LC_CTYPE, 'C')",
    "recursion limit": "sys.setrecursionlimit(sys.getrecursionlimit() + 500)",
    "thread switching": "sys.setswitchinterval(0.001)",
    "garbage collector": "gc.disable()",
    "garbage collector's thresholds": "gc.set_threshold(12345, 6, 7)",
    "signal handlers": "signal.signal(signal.SIGUSR2, signal.SIG_IGN)",
    "socket timeout": "socket.setdefaulttimeout(3.0)",
    "logging": "logging.getLogger('autogrow').disabled = True",
    "silenced log levels": "logging.disable(logging.CRITICAL)",
    "exception hook": "sys.excepthook = print",
    "tracing": "sys.settrace(lambda *_: None)",
    "standard streams": "sys.stdout = io.StringIO()",
    "file descriptor 0": "os.close(0)",
    "file descriptor 1": "os.close(1)",
    "file descriptor 2": "os.dup2(os.open(os.devnull, os.O_WRONLY), 2)",
}
HARMLESS = {setting.name for setting in SETTINGS if not setting.is_private}
MODEL = """
{imports}
class Network(nn.Sequential):
    calls = 0

    def forward(self, inputs):
        self.calls += self.training
        if self.calls == 3:
            {change}
        return super().forward(inputs)

def network():
    return Network(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 10))
"""


@pytest.fixture
def not_spoilt(monkeypatch):
    monkeypatch.setattr(process_state, "_spoilt", set())


def go_on(_):
    return Signal.CONTINUE


@pytest.fixture
def locale_of_another_name():
    """Many machines start with "C", which the test changes to."""
    import locale

    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    yield
    locale.setlocale(locale.LC_CTYPE, before)


def test_everything_that_is_kept_is_tried():
    assert {setting.name for setting in SETTINGS} <= CHANGES.keys()


@pytest.mark.usefixtures("locale_of_another_name", "capfd")
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_put_back_and_named(name):
    namespace = {"nn": torch.nn}
    exec(IMPORTS, namespace)
    before = {setting.name: setting.read() for setting in SETTINGS}
    with kept_process_state() as changed:
        exec(CHANGES[name], namespace)
        tracing = sys.gettrace()
    assert tracing is None or name == "tracing" or tracing is before["tracing"]
    assert {setting.name: setting.read() for setting in SETTINGS} == before
    assert changed == ([] if name in HARMLESS else [name])
    assert process_state.is_spoilt() == bool(changed)
    sys.stdout.flush()


def test_nothing_changed_is_nothing_named():
    with kept_process_state() as changed:
        torch.manual_seed(1)
    assert (changed, process_state.is_spoilt()) == ([], False)


def test_a_thread_that_is_left_running_is_named():
    ended = threading.Event()
    with kept_process_state() as changed:
        threading.Thread(target=ended.wait, daemon=True).start()
    ended.set()
    assert changed == ["running threads"]


CHANGED_AT_ONCE = "; ".join(
    CHANGES[name]
    for name in ("default dtype", "deterministic algorithms", "gradient mode", "NumPy's error handling", "environment")
)


@pytest.mark.parametrize("end", ["", "; raise SystemExit(0)"])
def test_a_trial_after_a_bad_one_is_the_one_it_would_have_been(end, trial_config, user_model):
    """Bit for bit, with dropout drawn from the global source of chance."""

    def samples(name, change):
        model = user_model(MODEL.format(imports=IMPORTS, change=change))
        sys.modules.pop(model.partition(":")[0], None)
        config = trial_config(name, model=model, model_options={})
        result = run_trial(config, go_on)
        kept = [sample.to_dict() for sample in TrialFolder(Path(config.folder)).samples()]
        return result, [{key: value for key, value in each.items() if not key.endswith("seconds")} for each in kept]

    _, expected = samples("before", "pass")
    assert not process_state.is_spoilt()
    bad, _ = samples("bad", f"{CHANGED_AT_ONCE}; torch.manual_seed(77); random.seed(77){end}")
    assert bad.status == "failed"
    assert (bad.reason == "SystemExit: 0") == bool(end)
    (warning,) = bad.warnings
    assert "default dtype, deterministic algorithms" in warning
    after, again = samples("after", "pass")
    assert after.status == "complete"
    assert again == expected
    assert process_state.is_spoilt()
