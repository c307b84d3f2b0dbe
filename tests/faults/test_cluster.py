"""A Ray cluster of two nodes, here on one machine, of which one is lost."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.processes import LONG, check_ended, wait_until

pytestmark = pytest.mark.slow
TRIALS = 3


@pytest.fixture(scope="module")
def cluster():
    """A head of one core, for searches one after another; the last test here ends it."""
    with pytest.MonkeyPatch.context() as environment, TemporaryDirectory(prefix="t-", dir="/tmp") as temporary:
        # Read by what Ray starts, and as in a search: its memory monitor would end whatever runs.
        environment.setenv("RAY_memory_monitor_refresh_ms", "0")
        from ray._common.utils import get_default_ray_temp_dir
        from ray.cluster_utils import Cluster

        Path(get_default_ray_temp_dir()).mkdir(exist_ok=True)  # a cluster notes its address there, wherever it lies
        head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": f"{temporary}/r"}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        yield cluster
        cluster.shutdown()


def up_to(step, samples):
    return [sample for sample in samples if sample["step"] <= step]


@pytest.mark.parametrize("out", ["results", "file://{}/results"])
def test_a_node_is_lost(out, cluster, start, records, workplace):
    node = cluster.add_node(num_cpus=1)
    arguments = ["--trials", TRIALS, "--space", "quick", *LONG, "--epochs", 120, "--out", out.format(workplace)]
    search = start(*arguments, "--address", cluster.address)
    wait_until(lambda: len(records.to_resume()) == 2)
    trained = {root: up_to(step, records.samples(root)) for root, step in records.to_resume().items()}
    cluster.remove_node(node, allow_graceful=False)
    code, out, err = search.end()
    assert code == 0, err
    check_ended(records, TRIALS)
    assert len(records.roots()) == TRIALS
    states = {trial.number: trial.state.name for trial in records.trials()}
    assert set(states.values()) <= {"COMPLETE", "PRUNED"}, states
    for root, samples in trained.items():
        # A sample names the seconds trained until then, so equal ones were not trained again.
        assert up_to(samples[-1]["step"], records.samples(root)) == samples
    assert search.family() == []
    # The cluster is not the search's to stop.
    assert cluster.head_node.any_processes_alive()


# Last, because it ends the cluster that the others use.
def test_the_cluster_is_lost(cluster, start, records):
    address = cluster.address  # which it forgets when it is killed
    search = start("--trials", 50, "--space", "quick", *LONG, "--quiet", "--address", address)
    wait_until(records.to_resume)
    saved = records.to_resume().keys()
    cluster.head_node.kill_gcs_server()
    code, out, err = search.end(timeout=60)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith(f"autogrow: error: the Ray cluster at {address} is lost (its control service (GCS)")
    assert "go on with --resume" in err
    assert "RUNNING" not in records.states()
    assert saved <= records.to_resume().keys() | records.finished().keys()  # some end before the loss is noticed
    assert search.family() == []
