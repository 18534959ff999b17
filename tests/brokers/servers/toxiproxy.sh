# Toxiproxy: links to the other servers that tests cut and slow down. Built by Go, which is all it takes.
# shellcheck shell=bash disable=SC2154 # the paths come from paths.sh

toxiproxy_release=2.12.0
toxiproxy_program="$cache/bin/toxiproxy-$toxiproxy_release"

toxiproxy_why_not() {
    [[ -x $toxiproxy_program ]] || command -v go >/dev/null || echo "go is not on PATH, and it is built from Go's source"
}

toxiproxy_up() {
    local port
    port=$(port client)
    [[ -x $toxiproxy_program ]] || toxiproxy_build || cannot "go could not build it, see $dir/go.log"
    say "toxiproxy: starting on 127.0.0.1:$port"
    start "$toxiproxy_program" -host 127.0.0.1 -port "$port"
    wait_until 20 toxiproxy_settled "$port" || true
    { listens "$port" && alive; } || {
        stop
        cannot "it did not start, see $dir/log"
    }
}

toxiproxy_down() {
    stop
}

toxiproxy_status() {
    alive || return 1
    echo "Toxiproxy $toxiproxy_release on 127.0.0.1:$(<"$dir/client.port"), process $(cut -d ' ' -f 1 "$dir/pid")"
}

toxiproxy_env() {
    echo "export KEYLANE_TEST_TOXIPROXY=http://127.0.0.1:$(<"$dir/client.port")"
}

toxiproxy_settled() {
    gone || listens "$1"
}

# Renamed into place: an interrupted build is never taken for a whole one.
toxiproxy_build() {
    local work
    mkdir -p "$cache/bin"
    work=$(mktemp -d "$cache/bin/.toxiproxy.XXXXXX")
    say "building toxiproxy $toxiproxy_release by Go"
    GOBIN="$work" timeout 600 go install "github.com/Shopify/toxiproxy/v2/cmd/server@v$toxiproxy_release" \
        >"$dir/go.log" 2>&1 </dev/null && mv "$work/server" "$toxiproxy_program"
    rm -rf "$work"
    [[ -x $toxiproxy_program ]]
}
