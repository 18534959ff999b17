# Where things lie, and how scripts speak. Sourced before everything else here.
# shellcheck shell=bash disable=SC2034 # the variables are for those who source this

brokers=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(cd "$brokers/../.." && pwd)

# One per checkout, wherever CARGO_TARGET_DIR points: two checkouts never share a server. Who wants servers of its own
# beside these, to kill them, names another folder.
state="${KEYLANE_SERVERS_STATE:-$root/target/brokers}"

# Downloads and the CI's target folder outlive a checkout.
cache="${KEYLANE_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/keylane}"

# Progress goes to stderr; stdout carries only what the caller evaluates.
say() {
    printf '%s\n' "$*" >&2
}
