#!/usr/bin/env bash
# One verb for one server: `server.sh kafka up`. Called by up, down and status, not by people.
# It is a process of its own because `set -e` is dead inside a function that is called in a condition.
#
# A server is one file, servers/NAME.sh, with these functions ($dir is the server's state folder):
#   NAME_why_not  prints in one line why the server can't be had on this machine; nothing when it can
#   NAME_up       starts it and returns when it answers; gives up through `cannot WHY`
#   NAME_down     ends what NAME_up started, and only that
#   NAME_status   prints in a few words how it runs; false when it does not run
#   NAME_env      prints the line `export KEYLANE_TEST_NAME=…` that tests read, and further ones if they need more
# The verb `again` is the same for all: a process that was killed is started once more, over its data.
set -euo pipefail
# shellcheck source=tests/brokers/lib/paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
for part in packages process ports docker java certificates; do
    # shellcheck source=/dev/null
    source "$brokers/lib/$part.sh"
done

# cannot WHY: ends this verb; `up` prints the reason.
cannot() {
    printf '%s\n' "$*" >"$dir/why"
    exit 1
}

name=$1
verb=$2
dir="$state/$name"
mkdir -p "$dir"
rm -f "$dir/why"
# shellcheck source=/dev/null
source "$brokers/servers/$name.sh"
if [[ $verb == again ]]; then
    again
else
    "${name}_$verb"
fi
