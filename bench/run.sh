#!/bin/sh
# Builds and runs the benchmarks; `bench/run.sh --help` lists the options. See bench/README.md.
# The charts need matplotlib, which the python3 of the system may have when the first one in PATH has not.
python=python3
if ! "$python" -c 'import matplotlib' 2>/dev/null && /usr/bin/python3 -c 'import matplotlib' 2>/dev/null; then
    python=/usr/bin/python3
fi
exec "$python" "$(dirname "$0")/run.py" "$@"
