# PostgreSQL, with pgbouncer in transaction mode before it: the official image, else Debian's packages. Without Docker
# both speak with who proves the password, and the server speaks TLS.
# shellcheck shell=bash disable=SC2154,SC2030,SC2031 # the paths come from paths.sh; pgbouncer has a folder in a subshell

# Who may come in. The password is drawn at each start.
postgres_user=keylane

postgres_why_not() {
    docker_answers || can_install || [[ -n $(postgres_program initdb) ]] ||
        echo "no Docker engine answers, initdb is not on PATH, and only root with apt-get may install it"
}

postgres_up() {
    local KEYLANE_POSTGRES_PORT KEYLANE_POSTGRES_PASSWORD
    KEYLANE_POSTGRES_PORT=$(port client)
    (umask 077 && head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$dir/password")
    KEYLANE_POSTGRES_PASSWORD=$(<"$dir/password")
    export KEYLANE_POSTGRES_PORT KEYLANE_POSTGRES_PASSWORD
    rm -rf "$dir/tls"
    if docker_answers; then
        if container_up postgres; then
            say "postgres: the container has neither TLS nor pgbouncer, their tests are skipped"
            return
        fi
        container_down postgres || true
        mv -f "$dir/log" "$dir/docker.log"
        say "postgres: the container did not start, see $dir/docker.log; trying without Docker"
    fi
    postgres_process "$KEYLANE_POSTGRES_PORT"
    pgbouncer_process "$KEYLANE_POSTGRES_PORT" "$(port pgbouncer)" || say "postgres: pgbouncer can't be had, its tests are skipped"
}

postgres_down() {
    container_runs postgres && container_down postgres
    (dir="$dir/pgbouncer" && stop)
    # To this signal it ends at once; by the usual one it would wait for its clients.
    ! alive || kill -INT "$(cut -d ' ' -f 1 "$dir/pid")" 2>/dev/null || true
    wait_until 20 gone || true
    stop
    [[ ! -s $dir/folder ]] || rm -rf "$(<"$dir/folder")"
    rm -rf "$dir/tls" "$dir/password" "$dir/folder" "$dir/pgbouncer"
}

postgres_status() {
    if alive; then
        echo "PostgreSQL on 127.0.0.1:$(<"$dir/client.port"), process $(cut -d ' ' -f 1 "$dir/pid")"
    elif container_runs postgres; then
        echo "PostgreSQL on 127.0.0.1:$(<"$dir/client.port"), container"
    else
        return 1
    fi
}

postgres_env() {
    local who
    who="$postgres_user:$(<"$dir/password")"
    echo "export KEYLANE_TEST_POSTGRES=postgres://$who@127.0.0.1:$(<"$dir/client.port")/keylane"
    [[ ! -f $dir/tls/ca.pem ]] || printf 'export KEYLANE_TEST_POSTGRES_CA=%q\n' "$dir/tls/ca.pem"
    ! (dir="$dir/pgbouncer" && alive) ||
        echo "export KEYLANE_TEST_PGBOUNCER=postgres://$who@127.0.0.1:$(<"$dir/pgbouncer.port")/keylane"
}

# postgres_program NAME: where it lies; Debian keeps all but a few off PATH. The newest release counts.
postgres_program() {
    local found
    found=$(command -v "$1") || found=$(compgen -G "/usr/lib/postgresql/*/bin/$1" | sort -V | tail -n 1) || true
    printf '%s' "$found"
}

# PostgreSQL and pgbouncer refuse to run as root.
as_postgres() {
    if [[ $(id -u) == 0 ]]; then
        printf '%s\n' setpriv --reuid=postgres --regid=postgres --clear-groups
    fi
}

# postgres_process PORT
postgres_process() {
    local folder as=()
    [[ -n $(postgres_program initdb) ]] || install_missing initdb=postgresql ||
        cannot "postgresql could not be installed"
    install_missing openssl=openssl || cannot "openssl could not be installed"
    certificates "$dir/tls" || cannot "openssl made no certificates, see $dir/certificates.log"
    # Apart from the checkout, whose folders another user may not enter.
    [[ ! -s $dir/folder ]] || rm -rf "$(<"$dir/folder")"
    folder=$(mktemp -d "${TMPDIR:-/tmp}/keylane-postgres.XXXXXX")
    echo "$folder" >"$dir/folder"
    cp "$dir/tls/server.pem" "$dir/password" "$folder/"
    mapfile -t as < <(as_postgres)
    ((${#as[@]} == 0)) || chown -R postgres:postgres "$folder"
    "${as[@]}" "$(postgres_program initdb)" --pgdata="$folder/data" --username="$postgres_user" \
        --pwfile="$folder/password" --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 \
        >"$dir/log" 2>&1 </dev/null || cannot "initdb failed, see $dir/log"
    postgres_settings "$1" "$folder" >>"$folder/data/postgresql.conf"
    say "postgres: starting on 127.0.0.1:$1"
    (cd "$folder" && start "${as[@]}" "$(postgres_program postgres)" -D "$folder/data")
    wait_until 60 postgres_settled "$1" "$folder" || true
    postgres_answers "$1" "$folder" || {
        stop
        cannot "it did not start, see $dir/log"
    }
}

# postgres_settled PORT FOLDER: nothing more to wait for, be it good or bad.
postgres_settled() {
    gone || postgres_answers "$1" "$2"
}

# postgres_answers PORT FOLDER: with a database of its own to answer from.
postgres_answers() {
    local url
    url="postgres://$postgres_user:$(<"$dir/password")@127.0.0.1:$1/postgres"
    alive && listens "$1" && {
        "$(postgres_program psql)" "$url" -qc 'CREATE DATABASE keylane' ||
            "$(postgres_program psql)" "${url%postgres}keylane" -qc 'SELECT 1'
    } &>/dev/null
}

# postgres_settings PORT FOLDER: what differs from the defaults.
postgres_settings() {
    cat <<SETTINGS
listen_addresses = '127.0.0.1'
port = $1
unix_socket_directories = '$2'
max_connections = 200
max_locks_per_transaction = 256
ssl = on
ssl_cert_file = '$2/server.pem'
ssl_key_file = '$2/server.pem'
SETTINGS
}

# pgbouncer_process POSTGRES_PORT PORT: false when it can't be had.
pgbouncer_process() {
    local folder as=() program
    install_missing pgbouncer=pgbouncer || return 1
    program=$(command -v pgbouncer) || return 1
    folder="$(<"$dir/folder")/pgbouncer"
    mkdir -p "$folder" "$dir/pgbouncer"
    printf '"%s" "%s"\n' "$postgres_user" "$(<"$dir/password")" >"$folder/users"
    cat >"$folder/pgbouncer.ini" <<SETTINGS
[databases]
* = host=127.0.0.1 port=$1
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $2
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $folder/users
pool_mode = transaction
max_client_conn = 400
default_pool_size = 20
SETTINGS
    mapfile -t as < <(as_postgres)
    ((${#as[@]} == 0)) || chown -R postgres:postgres "$folder"
    (
        dir="$dir/pgbouncer"
        cd "$folder" || exit 1
        start "${as[@]}" "$program" "$folder/pgbouncer.ini"
        wait_until 20 listens "$2" && alive
    )
}
