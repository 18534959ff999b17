# Servers as containers, where a Docker engine answers.
# shellcheck shell=bash disable=SC2154 # the paths come from paths.sh

# KEYLANE_SERVERS_DOCKER=no: who wants to kill a server has no use for a container.
docker_answers() {
    [[ ${KEYLANE_SERVERS_DOCKER:-yes} != no ]] && command -v docker >/dev/null && timeout 10 docker compose version &>/dev/null && timeout 10 docker info &>/dev/null
}

# container_up SERVICE: false when the engine answers but can't give the image; the caller may have another way.
container_up() {
    say "$1: starting the container"
    compose up --detach --wait --wait-timeout 180 "$1" >"$dir/log" 2>&1 </dev/null
}

container_runs() {
    docker_answers && [[ -n $(compose ps --quiet --status running "$1" 2>/dev/null) ]]
}

# container_down SERVICE: the project's network goes with its last container.
container_down() {
    compose rm --stop --force --volumes "$1" &>>"$dir/log" </dev/null
    [[ -n $(compose ps --all --quiet) ]] || compose down --volumes &>>"$dir/log" </dev/null
}

# The project is named by the checkout's path: two checkouts don't touch each other's containers.
compose() {
    local project
    project="keylane-$(cksum <<<"$root" | cut -d ' ' -f 1)"
    timeout 600 docker compose --project-name "$project" --file "$brokers/compose.yaml" "$@"
}
