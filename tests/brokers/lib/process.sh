# One server as a process of this machine: start it, know it again, end it.
# Needs $dir, the server's state folder. Its file `pid` holds the process id and the time of birth.
# shellcheck shell=bash disable=SC2154 # $dir comes from server.sh

# start COMMAND...: apart from the terminal, so that Ctrl-C in a test run does not reach it before `down` does.
# Descriptor 9 is the lock of `up`: a server that inherited it would hold the lock for as long as it lives.
start() {
    printf '%s\0' "$PWD" "$@" >"$dir/command"
    setsid "$@" >"$dir/log" 2>&1 </dev/null 9>&- &
    printf '%s %s\n' "$!" "$(birth "$!")" >"$dir/pid"
}

# again: the command of the last `start` once more, over the data that its process left when it was killed.
again() {
    local command
    mapfile -d '' -t command <"$dir/command"
    cd "${command[0]}" || return
    setsid "${command[@]:1}" >>"$dir/log" 2>&1 </dev/null 9>&- &
    printf '%s %s\n' "$!" "$(birth "$!")" >"$dir/pid"
}

# stop: asks, waits, then insists. Ends nothing but the very process that `start` recorded.
stop() {
    local pid
    if alive; then
        read -r pid _ <"$dir/pid"
        kill -TERM "$pid" 2>/dev/null || true
        wait_until 20 gone || kill -KILL "$pid" 2>/dev/null || true
        wait_until 10 gone || {
            say "process $pid does not end, its id is kept in $dir/pid"
            return 1
        }
    fi
    rm -f "$dir/pid"
}

# alive: the recorded process still runs, and is not another one that was given the same id since.
alive() {
    local pid born
    [[ -f $dir/pid ]] && read -r pid born <"$dir/pid" && [[ -n $born && $(birth "$pid") == "$born" ]]
}

gone() {
    ! alive
}

# wait_until SECONDS COMMAND...: polls until the command holds; false at the limit.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# birth PID: the start time in clock ticks since boot; nothing for a process that is gone or only waits to be reaped.
# The second field, the name, may hold blanks and brackets: cut up to the last bracket.
birth() {
    local line fields
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
    read -ra fields <<<"${line##*) }"
    [[ ${fields[0]} == Z ]] || printf '%s\n' "${fields[19]}"
}
