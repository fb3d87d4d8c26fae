#!/usr/bin/env bash
# Everything that only a GPU can show, most important first, within BUDGET seconds. Run it in the repository's root:
#   bash tests/gpu/gpu_check.sh              on a machine with a GPU; README.md beside this file says how to prepare it
#   DEVICE=cpu bash tests/gpu/gpu_check.sh   anywhere, to try the script itself on the golden checkpoint
# Leaves at most 8 files in $OUT: log.txt, summary.txt, result.json, speed.json, prefill.json, small.json, trace.json.gz.
# ONLY="smoke pytest" runs these steps alone; PY is the interpreter.
set -u
here=$(cd "$(dirname "$0")" && pwd)
DEVICE=${DEVICE:-cuda} BUDGET=${BUDGET:-560} PY=${PY:-python3} OUT=${OUT:-$PWD/.gpu-out}
ONLY=${ONLY:-smoke pytest correct arch speed prefill workers oom small}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
mkdir -p "$OUT"
export OUT DEVICE PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 RTPRUNE_CONFIG=/dev/null
export PYTHONPATH="$PWD:$here${PYTHONPATH:+:$PYTHONPATH}"
start=$SECONDS failed=0

step() {  # name, most seconds, command...
  local name=$1 most=$2 left=$((BUDGET - (SECONDS - start))); shift 2
  case " $ONLY " in *" $name "*) ;; *) return ;; esac
  if [ "$left" -lt 15 ]; then echo "== $name: no time left" | tee -a "$OUT/summary.txt"; return; fi
  [ "$most" -gt "$left" ] && most=$left
  local began=$SECONDS rc
  echo "=================== $name (at most $most s): $*" >>"$OUT/log.txt"
  timeout -k 5 "$most" "$@" >"$logs/$name.log" 2>&1; rc=$?
  [ $rc -ne 0 ] && failed=1
  tail -c 400000 "$logs/$name.log" >>"$OUT/log.txt"
  { echo "== $name: rc $rc, $((SECONDS - began)) s"
    case $name in pytest) tail -n 15 "$logs/$name.log" ;;
      *) grep -E '^(>|  !|Traceback|[A-Za-z.]*Error)' "$logs/$name.log" | tail -n 200
         [ $rc -ne 0 ] && tail -n 4 "$logs/$name.log" ;; esac; } | cut -c1-240 | tee -a "$OUT/summary.txt"
}

cpu=$([ "$DEVICE" = cpu ] && echo 1)
model=(--arch deepseek-ocr); [ "$cpu" ] && model=(--model tests/golden/checkpoint)
speed=("$PY" -m rtprune_cli bench speed "${model[@]}" --device "$DEVICE" -v)
on_gpu() { [ "$cpu" ] || step "$@"; }

step smoke 60 "$PY" -m probe smoke
# Named files: others import packages that a bare machine does not have.
step pytest 120 "$PY" -m pytest -q -p no:cacheprovider -m cuda \
  tests/gpu/test_cuda.py tests/test_decoding.py tests/test_kernels.py tests/test_pipeline.py tests/test_pruning.py
step correct 100 "$PY" -m probe correct
step arch 190 "$PY" -m probe arch
# The whole engine beside transformers' generate; each configuration runs three times, two of them to warm up.
step speed 130 "${speed[@]}" --modes base --ratios 1,dynamic \
  --batch-sizes "$([ "$cpu" ] && echo 4 || echo 128)" --pages "$([ "$cpu" ] && echo 8 || echo 256)" \
  --output-tokens "$([ "$cpu" ] && echo 16 || echo 256)" --stages whole --whole-repeats 1 --baseline-pages 1 \
  --json "$OUT/speed.json"
on_gpu prefill 60 "${speed[@]}" --modes large --ratios 0.84 --batch-sizes 8 --stages prune,prefill --json "$OUT/prefill.json"
step workers 75 "$PY" -m probe workers
step oom 80 "$PY" -m probe oom
# As a card of 24 GB: does the plan hold? A row with an error says out_of_memory.
share=$([ "$cpu" ] || "$PY" -c 'import torch; print(round(24 * 2**30 / torch.cuda.mem_get_info()[1], 3))')
on_gpu small 70 "${speed[@]}" --modes gundam --ratios dynamic --batch-sizes 32 --pages 32 --output-tokens 128 \
  --stages whole --whole-repeats 1 --memory-fraction "$share" --json "$OUT/small.json"
"$PY" -m probe summary | tee -a "$OUT/summary.txt"
echo "total $((SECONDS - start)) s" | tee -a "$OUT/summary.txt"
exit $failed
