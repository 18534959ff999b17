# Ports on loopback: chosen once, remembered in the server's state folder.
# shellcheck shell=bash disable=SC2154 # $dir comes from server.sh

# port NAME: the remembered port of that name; a new one at first, and when something else has taken it meanwhile.
port() {
    local file="$dir/$1.port"
    if [[ ! -s $file ]] || listens "$(<"$file")"; then
        free_port >"$file"
    fi
    cat "$file"
}

listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Below the range from which the kernel hands out ports for outgoing connections.
free_port() {
    local candidate
    for _ in {1..100}; do
        candidate=$((20000 + RANDOM % 12000))
        if ! listens "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "no free port on 127.0.0.1 in a hundred tries"
    return 1
}
