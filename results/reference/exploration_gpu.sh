#!/usr/bin/env bash
# A GPU session at the `exploration` scale: throughput first, then as many steps and seeds as the time allows.
#
#   results/reference/exploration_gpu.sh prepare      with a network: text, published programs and wheels into .gpu/ (60 MB)
#   results/reference/exploration_gpu.sh run 50 1     on the GPU machine, same checkout: 50 steps, one seed, prints tokens/s
#   results/reference/exploration_gpu.sh run 500 3    then what fits; the report lies in .gpu/results/replicate/latest
#   results/reference/exploration_gpu.sh dry-run      the same path at the `smoke` scale on a CPU
#
# The GPU machine needs Python >= 3.11, PyTorch >= 2.9, NumPy, pandas and SciPy; the rest comes from .gpu/wheels.
# PYTHON names the interpreter, TARGET the GPU machine's Python version, PROGRAMS the published indices.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
TARGET=${TARGET:-3.12}
PROGRAMS=${PROGRAMS:-1735,703,879}
WHEELS="hydra-core omegaconf antlr4-python3-runtime PyYAML einops tqdm filelock packaging jinja2 MarkupSafe jsonschema
  jsonschema-specifications referencing rpds-py attrs typing_extensions statsmodels patsy formulaic interface_meta narwhals
  wrapt seaborn matplotlib contourpy cycler fonttools kiwisolver pillow pyparsing python-dateutil"

prepare() {
  : "${ARCHAUDIT_PUBLISHED:?name the folder that holds gallery.json}"
  mkdir -p .gpu/wheels
  cp "$ARCHAUDIT_PUBLISHED"/gallery.json "$ARCHAUDIT_PUBLISHED"/table2.csv .gpu/
  "$PYTHON" - <<'PY'
import json
from pathlib import Path

from replication.configure import configure
from replication.corpus import prepare

corpus = prepare(configure([]).corpus, Path(".gpu/cache"))
with open(".gpu/text.jsonl", "w") as file:
    for split in ("train", "val", "test"):
        for document in bytes(corpus.open(split)).split(b"\0"):
            if document:
                file.write(json.dumps({"text": document.decode()}) + "\n")
PY
  for name in $WHEELS; do
    pin=$(grep -i "^${name}==" constraints.txt || echo "$name")
    "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$TARGET" \
      --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform any -d .gpu/wheels "$pin" ||
      "$PYTHON" -m pip wheel --quiet --no-deps -w .gpu/wheels "$pin"
  done
  rm -rf .gpu/cache
  du -sh .gpu
}

run() {  # scale, device, steps, seeds, then further settings
  local scale=$1 device=$2 steps=$3 seeds=$4
  shift 4
  local settings=("scale=$scale" "scale.$scale.steps=$steps" "seeds=$seeds" 'baselines=[delta_net,gated_delta_net]'
    candidates=published published.root=.gpu "published.index=[$PROGRAMS]" corpus=files 'corpus.paths=[.gpu/text.jsonl]'
    corpus.name=embedded-jsonl paths.results=.gpu/results "engine.device=$device" engine.memory_gib=100 "$@")
  if [ ! -d .gpu/site ] && [ "${NO_WHEELS:-}" = "" ]; then
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target .gpu/site .gpu/wheels/*.whl
  fi
  export PYTHONPATH=.gpu/site${PYTHONPATH:+:$PYTHONPATH}
  "$PYTHON" -m audit replicate "${settings[@]}"
}

case ${1:-} in
  prepare) prepare ;;
  run) shift; run exploration cuda "$@" ;;
  dry-run) NO_WHEELS=1 run smoke cpu 20 2 ;;
  *) sed -n '2,12p' "$0"; exit 2 ;;
esac
