#!/usr/bin/env bash
# The bench on a GPU machine to which only this checkout travels: ceilings, operators, whole training steps.
#
#   results/reference/bench.sh prepare    with a network: published programs and wheels into .gpu/ (about 2 MB)
#   results/reference/bench.sh run        on the GPU machine, same checkout: under 8 minutes; bench.csv and bench.json
#                                         into $OUT, else .gpu/bench
#   results/reference/bench.sh dry-run    the same on a CPU at tiny sizes, no times kept
#
# The GPU machine needs Python >= 3.11 with PyTorch >= 2.9, Triton, NumPy, pandas, PyYAML, filelock and tqdm; the rest
# comes from .gpu/wheels. Then, back here: python -m audit bench table=FOLDER/bench.csv writes the report.
# PYTHON names the interpreter, MINUTES the time for all rows.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
WHEELS="einops flash-linear-attention fla-core"  # plain Python, for every version

prepare() {
  : "${ARCHAUDIT_PUBLISHED:?name the folder that holds gallery.json}"
  mkdir -p .gpu/wheels
  cp "$ARCHAUDIT_PUBLISHED"/gallery.json .gpu/
  if [ -e "$ARCHAUDIT_PUBLISHED"/table2.csv ]; then cp "$ARCHAUDIT_PUBLISHED"/table2.csv .gpu/; fi
  for name in $WHEELS; do
    pin=$(grep -i "^${name}==" constraints.txt || echo "$name")
    "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: -d .gpu/wheels "$pin"
  done
  du -sh .gpu
}

run() {  # further arguments of python -m replication bench
  local out=${OUT:-.gpu/bench}
  if [ -d .gpu/wheels ] && [ ! -d .gpu/bench-site ]; then
    for wheel in .gpu/wheels/{einops,flash_linear_attention,fla_core}-*.whl; do  # unpacked: Triton reads source files
      if [ -e "$wheel" ]; then "$PYTHON" -m zipfile -e "$wheel" .gpu/bench-site; fi
    done
  fi
  export PYTHONPATH="$PWD/.gpu/bench-site${PYTHONPATH:+:$PYTHONPATH}"
  local published=.gpu
  if [ ! -e .gpu/gallery.json ]; then published=${ARCHAUDIT_PUBLISHED:-.gpu}; fi
  "$PYTHON" -m replication bench --out "$out" --published "$published" "$@"
}

case ${1:-} in
  prepare) prepare ;;
  run) shift; run --minutes "${MINUTES:-7.5}" "$@" ;;
  dry-run) shift; run --dry-run --minutes "${MINUTES:-7.5}" "$@" ;;
  *) sed -n '2,12p' "$0"; exit 2 ;;
esac
