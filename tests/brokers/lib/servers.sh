# What up, down, status and tests/run share: the list of servers, and the way to talk to one.
# shellcheck shell=bash disable=SC2154 # the paths come from paths.sh
# shellcheck source=tests/brokers/lib/paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

# A server is there because its file is there.
all_servers() {
    local file
    for file in "$brokers"/servers/*.sh; do
        basename "$file" .sh
    done
}

# servers_or_all [NAME...]: the names given, or all.
servers_or_all() {
    local name
    (($#)) || all_servers
    for name in "$@"; do
        [[ -f $brokers/servers/$name.sh ]] || {
            say "no server named $name: there is no tests/brokers/servers/$name.sh"
            return 1
        }
        echo "$name"
    done
}

# on SERVER VERB
on() {
    bash "$brokers/lib/server.sh" "$1" "$2"
}

runs() {
    on "$1" status >/dev/null
}

# One `up` or `down` at a time in a checkout; the second waits, then finds the work done.
lock() {
    mkdir -p "$state"
    exec 9>"$state/lock"
    flock --wait 900 9 || {
        say "another up or down has held $state/lock for fifteen minutes"
        return 1
    }
}
