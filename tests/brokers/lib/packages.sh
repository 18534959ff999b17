# Programs from Debian's packages, where this user may install them.
# shellcheck shell=bash disable=SC2154 # the paths come from paths.sh

can_install() {
    [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null
}

# install_missing PROGRAM=PACKAGE...: installs the packages of those programs that are not on PATH.
install_missing() {
    local pair packages=() programs=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null && continue
        programs+=("${pair%%=*}")
        packages+=("${pair#*=}")
    done
    ((${#packages[@]})) || return 0
    if ! can_install; then
        say "not on PATH: ${programs[*]} (Debian packages: ${packages[*]})"
        return 1
    fi
    say "installing from Debian's packages: ${packages[*]}"
    apt_install "${packages[@]}" || {
        say "apt-get could not install ${packages[*]}, see $state/apt.log"
        return 1
    }
}

# The lists are brought up to date only when the first try fails: mostly they are good, and it is slow.
apt_install() {
    local -x DEBIAN_FRONTEND=noninteractive
    local install=(timeout 600 apt-get install --yes --no-install-recommends "$@")
    mkdir -p "$state"
    {
        "${install[@]}" || { timeout 300 apt-get update && "${install[@]}"; }
    } >"$state/apt.log" 2>&1 </dev/null
}
