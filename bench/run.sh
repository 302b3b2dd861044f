#!/bin/sh
# Builds and runs the benchmarks; `bench/run.sh --help` lists the options. See bench/README.md.
exec python3 "$(dirname "$0")/run.py" "$@"
