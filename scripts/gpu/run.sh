#!/usr/bin/env bash
# On a GPU server: unpacks what pack.mjs packed, builds torchvid against the LibTorch of Python's torch, tests and measures.
# Needs no network, Node or npm; README.md beside this file tells what it needs.
#
#   ./run.sh all   [--out FOLDER]          unpack, build, test, all benchmarks, report
#   ./run.sh STAGE [...] [--out FOLDER]    unpack | build | info | test | peak | a | b | c | d | quality | profile | report
#
#   --out FOLDER    where results go; default: $OUT, else ./torchvid-gpu-results
#   --work FOLDER   where it works, kept between calls; default: $TORCHVID_GPU_WORK, else ~/.cache/torchvid-gpu
#   --tiny          benchmarks at tiny sizes, which shows that they run and nothing more
#   --cpu           a rehearsal on a machine without a GPU: everything on the CPU; implies --tiny
#   --tests WORDS   what vitest is given instead of test/gpu: files, options
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
archive=$here/torchvid-gpu.tar.xz

out=${OUT:-$PWD/torchvid-gpu-results}
work=${TORCHVID_GPU_WORK:-${HOME:-/tmp}/.cache/torchvid-gpu}
rehearsal=
tiny=
tests=test/gpu
stages=()
failures=()

# Seconds that a stage may take; TORCHVID_GPU_LIMIT overrides all of them.
limit_of() {
  if [ -n "${TORCHVID_GPU_LIMIT:-}" ]; then echo "$TORCHVID_GPU_LIMIT"; return; fi
  case $1 in
    unpack) echo 180 ;; build) echo 560 ;; info) echo 120 ;; test) echo 540 ;; peak) echo 120 ;;
    a) echo 420 ;; b) echo 240 ;; c) echo 540 ;; d) echo 420 ;; quality) echo 420 ;; profile) echo 240 ;; *) echo 60 ;;
  esac
}

main() {
  read_arguments "$@"
  mkdir -p "$out" "$work/results" || exit 1
  out=$(cd "$out" && pwd)
  work=$(cd "$work" && pwd)
  tree=$work/torchvid
  for stage in "${stages[@]}"; do run_stage "$stage"; done
  # Results of earlier calls come along, so that the last call's folder holds everything.
  cp -f "$work"/results/* "$out"/ 2>/dev/null
  say_end
}

read_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --out) out=${2:?--out wants a folder}; shift 2 ;;
      --work) work=${2:?--work wants a folder}; shift 2 ;;
      --tests) tests=${2:?--tests wants files}; shift 2 ;;
      --tiny) tiny=--tiny; shift ;;
      --cpu) rehearsal=1 tiny=--tiny; shift ;;
      all) stages+=(unpack build info test peak a b c d quality profile report); shift ;;
      unpack | build | info | test | peak | a | b | c | d | quality | profile | report) stages+=("$1"); shift ;;
      *) usage "unknown argument: $1" ;;
    esac
  done
  [ ${#stages[@]} -gt 0 ] || usage 'no stage given'
  # What a stage stands on is made when it is not there yet, or comes from another pack.
  case ${stages[0]} in
    unpack) ;;
    build) stages=(unpack "${stages[@]}") ;;
    report) [ -d "$work/torchvid" ] || stages=(unpack "${stages[@]}") ;;
    *) stages=(unpack build "${stages[@]}") ;;
  esac
}

usage() {
  echo "$1" >&2
  sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# Runs one stage in a shell of its own under its time limit; goes on whatever comes of it.
run_stage() {
  local name=$1 limit begin seconds status log
  limit=$(limit_of "$name")
  log=$work/results/$name.log
  echo "== $name (at most $limit s)"
  begin=$(date +%s)
  export -f stage_unpack stage_build stage_info stage_test stage_bench stage_profile stage_report
  export -f find_libtorch find_python run_bench set_environment keep_times
  export here archive out work tree rehearsal tiny tests
  # The stage ends with its children: timeout puts them in one group. Its output is shown and kept.
  timeout --kill-after=15 "$limit" bash -c "$(command_of "$name")" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  seconds=$(($(date +%s) - begin))
  case $status in
    0) echo "== $name: done in $seconds s" ;;
    124 | 137) echo "== $name: not done in $limit s, stopped"; failures+=("$name (time limit of $limit s)") ;;
    *) echo "== $name: failed with code $status after $seconds s"; failures+=("$name (code $status)") ;;
  esac
  printf '{"stage": "%s", "code": %d, "seconds": %d, "limit": %d}\n' "$name" "$status" "$seconds" "$limit" \
    >> "$work/results/stages.jsonl"
}

command_of() {
  case $1 in
    unpack) echo stage_unpack ;;
    build) echo stage_build ;;
    info) echo stage_info ;;
    test) echo stage_test ;;
    profile) echo stage_profile ;;
    report) echo stage_report ;;
    *) echo "stage_bench $1" ;;
  esac
}

# ---------------------------------------------------------------------------------------------------- the stages

stage_unpack() {
  [ -f "$archive" ] || { echo "$archive is not there: keep run.sh in the folder that pack.mjs made."; exit 1; }
  local hash new=$work/new
  hash=$(sha256sum "$archive" | cut -d' ' -f1)
  if [ "$(cat "$work/unpacked" 2>/dev/null)" = "$hash" ]; then echo 'unpacked already'; exit 0; fi
  rm -rf "$new" && mkdir -p "$new"
  if command -v xz > /dev/null; then
    tar -xJf "$archive" -C "$new" || exit 1
  else
    # Python reads xz by itself.
    "$(find_python)" -c 'import sys, tarfile; tarfile.open(sys.argv[1], "r:xz").extractall(sys.argv[2])' \
      "$archive" "$new" || exit 1
  fi
  keep_times "$tree" "$new/torchvid"
  [ -d "$tree/prebuilds" ] && mv "$tree/prebuilds" "$new/torchvid/"
  rm -rf "$tree" "$work/shared" "$work/node"
  mv "$new/torchvid" "$tree" && mv "$new/shared" "$new/node" "$work/" && rmdir "$new" || exit 1
  echo "$hash" > "$work/unpacked"
  echo "unpacked to $work, Node $("$work/node" --version)"
}

# Ninja goes by times: what has not changed keeps its own, what has changed is new.
keep_times() {
  local old=$1 new=$2
  (cd "$new" && find native CMakeLists.txt -type f) | while read -r file; do
    if cmp -s "$old/$file" "$new/$file"; then touch -r "$old/$file" "$new/$file"; else touch "$new/$file"; fi
  done
}

stage_build() {
  set_environment
  local build=$work/build prebuilt=$tree/prebuilds/linux-$("$work/node" -p process.arch) binary
  cd "$tree" || exit 1
  local headers=$tree/node_modules/node-api-headers/include generator=()
  command -v ninja > /dev/null && generator=(-G Ninja)
  # Another LibTorch than last time makes another build.
  if [ "$(cat "$build/libtorch" 2>/dev/null)" != "$TORCHVID_LIBTORCH $libtorch_version" ]; then rm -rf "$build"; fi
  cmake -S "$tree" -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DCMAKE_JS_INC="$headers" \
    -DTORCHVID_LIBTORCH="$TORCHVID_LIBTORCH" || exit 1
  echo "$TORCHVID_LIBTORCH $libtorch_version" > "$build/libtorch"
  cmake --build "$build" --parallel "${TORCHVID_GPU_JOBS:-$(nproc)}" || exit 1
  # Written over in place, a binary would change under the processes that have it loaded.
  rm -rf "$prebuilt" && mkdir -p "$prebuilt" || exit 1
  for binary in "$build"/*.node "$build"/*.so "$build"/*/*.node "$build"/*/*.so; do
    [ -f "$binary" ] && cp "$binary" "$prebuilt/"
  done
  [ -f "$prebuilt/torchvid.node" ] || { echo "The build made no torchvid.node in $build."; exit 1; }
  ls -l "$prebuilt"
  if [ -z "$rehearsal" ] && [ ! -f "$prebuilt/torchvid_cuda.so" ]; then
    echo "Note: no torchvid_cuda was built (no CUDA toolkit headers found?): no graph capture, slower training."
  fi
}

# What runs here, in text and as JSON.
stage_info() {
  set_environment
  { nvidia-smi || echo 'nvidia-smi: not here'; } 2>&1 | head -20
  "$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda, torch.cuda.is_available())'
  cd "$tree" && "$work/node" --input-type=module -e "
    import fs from 'node:fs'
    import { runtime } from 'torchvid'
    const info = await runtime.info()
    console.log(JSON.stringify(info, null, 2))
    fs.writeFileSync('$work/results/info.json', JSON.stringify(info, null, 2))"
}

stage_test() {
  set_environment
  cd "$tree" || exit 1
  local words
  read -ra words <<< "$tests"
  # One file after the other: the test of running out of memory would take the others' memory.
  "$work/node" node_modules/vitest/vitest.mjs run "${words[@]}" --no-file-parallelism --reporter=default --reporter=json \
    "--outputFile.json=$work/results/tests.json"
}

stage_bench() {
  set_environment
  run_bench --only "$1" --json "$work/results/bench-$1.json"
}

run_bench() {
  cd "$tree" || exit 1
  local device=cuda
  [ -n "$rehearsal" ] && device=cpu
  "$work/node" bench/gpu/run.mjs --python "$python" --shared "$work/shared" --device $device $tiny "$@"
}

# Where the time goes, kernel by kernel, by LibTorch's own profiler.
stage_profile() {
  set_environment
  cd "$tree" || exit 1
  local part status=0 device=cuda
  [ -n "$rehearsal" ] && device=cpu
  for part in a b c d; do
    echo "profile of $part"
    TORCHVID_PROFILE=$work/profile-$part.json KINETO_LOG_LEVEL=99 \
      "$work/node" bench/gpu/side.mjs --once --part "$part" --device $device $tiny --folder "$work" &&
      "$work/node" bench/gpu/trace.mjs "$work/profile-$part.json" | tee "$work/results/profile-$part.json" || status=1
  done
  exit $status
}

# All results so far as one table.
stage_report() {
  cd "$tree" || exit 1
  "$work/node" bench/gpu/run.mjs --report "$work/results" | tee "$work/results/report.md"
  exit "${PIPESTATUS[0]}"
}

# ---------------------------------------------------------------------------------------------------- what they share

# The first Python that has torch. TORCHVID_PYTHON names another.
find_python() {
  local candidate
  for candidate in ${TORCHVID_PYTHON:-} python3 python "${VIRTUAL_ENV:-/none}"/bin/python /opt/*/.venv/bin/python \
    /opt/*/bin/python; do
    command -v "$candidate" > /dev/null || continue
    # Only looked for, not imported, which takes seconds.
    "$candidate" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' 2> /dev/null &&
      { command -v "$candidate"; return; }
  done
  command -v python3 || echo python3
}

# The folder of torch in Python, which holds lib/ and include/ as a LibTorch does. TORCHVID_LIBTORCH names another.
find_libtorch() {
  "$1" -c 'import importlib.util; print(importlib.util.find_spec("torch").submodule_search_locations[0])'
}

# Sets python, TORCHVID_LIBTORCH and libtorch_version, and has the package expect that version.
set_environment() {
  [ -x "$work/node" ] || { echo 'Not unpacked yet.'; exit 1; }
  python=$(find_python)
  export TORCHVID_LIBTORCH=${TORCHVID_LIBTORCH:-$(find_libtorch "$python")}
  if [ ! -d "$TORCHVID_LIBTORCH/include" ]; then
    echo "No LibTorch: no Python here has torch with headers. TORCHVID_PYTHON names a Python, TORCHVID_LIBTORCH a folder."
    exit 1
  fi
  export PREBUILDS_ONLY=1 TORCHVID_SHARED=$work/shared
  if [ -n "$rehearsal" ]; then export TORCHVID_TEST_DEVICE=cpu; else export TORCHVID_REQUIRE_GPU=1; fi
  # CMake finds the toolkit by these where nvcc is not on the PATH.
  if command -v nvcc > /dev/null; then
    export CUDA_HOME=${CUDA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")}
  fi
  [ -d /usr/local/cuda ] && export CUDA_HOME=${CUDA_HOME:-/usr/local/cuda}
  [ -n "${CUDA_HOME:-}" ] && export CUDAToolkit_ROOT=${CUDAToolkit_ROOT:-$CUDA_HOME}
  libtorch_version=$("$work/node" -e "
    const fs = require('node:fs')
    const root = process.env.TORCHVID_LIBTORCH
    const read = (file) => { try { return fs.readFileSync(root + '/' + file, 'utf8') } catch { return '' } }
    const version = /__version__[^=\n]*=\s*['\"]([^'\"]+)/.exec(read('version.py'))?.[1] ?? read('build-version').trim()
    const file = '$tree/package.json'
    const json = JSON.parse(fs.readFileSync(file, 'utf8'))
    const wanted = version.split('+')[0]
    if (wanted !== '' && json.torchvid.libtorch !== wanted) {
      json.torchvid.libtorch = wanted
      fs.writeFileSync(file, JSON.stringify(json, null, 2))
    }
    console.log(version)") || exit 1
  echo "LibTorch $libtorch_version in $TORCHVID_LIBTORCH, Python $python"
}

say_end() {
  echo
  echo "Results: $out"
  if [ ${#failures[@]} -eq 0 ]; then
    echo "Every stage of this call succeeded: ${stages[*]}"
    exit 0
  fi
  echo 'Failed:'
  printf '  %s\n' "${failures[@]}"
  exit 1
}

main "$@"
