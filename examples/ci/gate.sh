#!/usr/bin/env bash
# Verify a smaller model, and time it against the dense one's ONNX file.
#
#     gate.sh DENSE SMALL [OPTIONS OF `graphprune verify`]
#
# DENSE is the dense model, SMALL the output folder of `graphprune compress`. Where DENSE_ONNX
# names an ONNX file, SMALL/model.onnx may take at most MAX_RATIO (default 1.0) of its time.
# Reports go to REPORTS (default: reports/), and a table to the job's page. The exit code is that
# of the first check that says no; all of them run.
set -uo pipefail
dense=$1 small=$2
shift 2
reports=${REPORTS:-reports}
summary=${GITHUB_STEP_SUMMARY:-$reports/summary.md}
mkdir -p "$reports"

graphprune verify "$dense" "$small" "$@" --quiet \
    --summary "$summary" --junit "$reports/verify.xml"
code=$?

if [[ -n ${DENSE_ONNX:-} ]]; then
    graphprune bench "$DENSE_ONNX" "$small/model.onnx" --quiet --rounds "${ROUNDS:-200}" \
        --max-ratio "${MAX_RATIO:-1.0}" --summary "$summary" --junit "$reports/bench.xml"
    bench=$?
    ((code)) || code=$bench
fi
exit "$code"
