# What the scripts new_user_*.sh have in common: a scratch directory as HOME, with an empty directory
# `project` to be in, and the blocks of docs/install.md. To be sourced.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/project"

# block NAME: the fenced block of docs/install.md that is marked so, such as "sh make". There must be one.
block() {
    local text
    text=$(awk -v mark="\`\`\`$1" \
        '$0 == "```" { on = 0 } on { print } $0 == mark { on = 1 }' "$source/docs/install.md")
    [[ $text ]] || { echo "docs/install.md has no block: $1" >&2; exit 1; }
    printf '%s\n' "$text"
}

# file KIND NAME: writes a file that the page shows.
file() { block "$1 $2" >"$scratch/project/$2"; }

# documented NAME: a documented command in the source tree; of the usual HOME only Go's caches remain.
documented() {
    local caches
    caches=$(PATH=$PATH:/usr/local/go/bin go env GOCACHE GOMODCACHE)
    (cd "$source" && HOME=$scratch GOCACHE=${caches%$'\n'*} GOMODCACHE=${caches#*$'\n'} \
        bash -euc "$(block "sh $1")" >/dev/null)
}

# run NAME: runs the commands "sh NAME" in the project, in an environment with nothing in it but the system's
# programs; the output has to end as the page says.
run() {
    local expected output
    expected=$(block "output $1")
    output=$(cd "$scratch/project" && env -i HOME="$scratch" PATH=/usr/local/bin:/usr/bin:/bin \
        bash -euc "$(block "sh $1")" 2>&1) || { printf '%s\n%s: failed\n' "$output" "$1" >&2; exit 1; }
    [[ $(tail -n "$(wc -l <<<"$expected")" <<<"$output") == "$expected" ]] || {
        printf '%s: printed\n%s\n' "$1" "$output" >&2
        exit 1
    }
    echo "ok: $1"
}
