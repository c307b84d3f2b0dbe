#!/usr/bin/env bash
# GPU tests and the benchmark parts that a GPU changes, in under ten minutes, on a host that may have no network.
#
#   bash tests/benchmarks/gpu.sh
#
# It installs nothing: PyTorch and autogrow's dependencies must be importable, AUTOGROW_DATA must hold cifar100 and
# mnist. Tables go to the screen, figures to results/benchmarks, and from there to the folder OUT where that is set.
# DEVICE=cpu QUICK=1 tries the script itself where there is no GPU; PYTHON names another interpreter than python3.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit

device=${DEVICE:-cuda}
python=${PYTHON:-python3}
results=results/benchmarks
arguments=()
[ "$device" = cuda ] && arguments+=(--gpu)
[ -n "${QUICK:-}" ] && arguments+=(--quick)

stop() {
    echo "gpu.sh: $1" >&2
    exit 2
}

[ "$device" = cuda ] || [ "$device" = cpu ] || stop "DEVICE is '$device': give cuda or cpu"
[ -n "${AUTOGROW_DATA:-}" ] || stop "AUTOGROW_DATA is not set: give the folder that holds cifar100 and mnist"
[ -d "$AUTOGROW_DATA" ] || stop "AUTOGROW_DATA is $AUTOGROW_DATA, which is no folder"
for module in torch numpy scipy pydantic yaml rich platformdirs pytest optuna sqlalchemy click psutil; do
    "$python" -c "import $module" 2> /dev/null || stop "Python module $module cannot be imported: install it first"
done
if [ "$device" = cuda ]; then
    "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())" || stop "PyTorch sees no GPU here"
fi

begun=$SECONDS
failed=()
cost=$(mktemp -d)/cost-gpu
marker=$(mktemp)
trap 'rm -rf "$marker" "${cost%/*}"' EXIT

# limited SECONDS COMMAND...: what fails or takes too long is named at the end, and the rest goes on.
limited() {
    local seconds=$1
    shift
    echo "--- $* (at most $seconds s, $((SECONDS - begun)) s gone)"
    timeout --kill-after=5 "$seconds" "$@" || failed+=("$* (exit $?)")
}

# Only the files that hold such tests: others import what a GPU host need not have.
if [ "$device" = cuda ]; then
    mapfile -t files < <(grep -rl --include='test_*.py' 'pytest.mark.gpu' tests)
    limited 80 "$python" -m pytest -q -m gpu -p no:cacheprovider "${files[@]}"
fi

limited 80 "$python" -m tests.benchmarks "${arguments[@]}" throughput
limited 20 "$python" -m tests.benchmarks "${arguments[@]}" step
limited 40 "$python" -m tests.benchmarks "${arguments[@]}" event
limited 110 "$python" -m tests.benchmarks "${arguments[@]}" growing
limited 60 "$python" -m autogrow reproduce cost --device "$device" --seeds 1 ${QUICK:+--quick} --quiet --out "$cost"
limited 100 "$python" -m tests.benchmarks "${arguments[@]}" packing
limited 35 "$python" -m tests.benchmarks "${arguments[@]}" width
limited 15 "$python" -m tests.benchmarks "${arguments[@]}" frozen
limited 24 "$python" -m tests.benchmarks "${arguments[@]}" text
limited 25 "$python" -m tests.benchmarks "${arguments[@]}" executions

if [ -n "${OUT:-}" ]; then
    mkdir -p "$OUT"
    cp "$cost/table.md" "$OUT/cost-gpu.md" || failed+=("copying the table of costs to $OUT")
    # Figures that were there before are not this run's.
    find "$results" -name '*.json' -newer "$marker" -exec cp -t "$OUT" {} + || failed+=("copying $results to $OUT")
fi
echo "--- $((SECONDS - begun)) s in all"
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'gpu.sh: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
