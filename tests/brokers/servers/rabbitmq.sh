# RabbitMQ: the official image, else Debian's package as a node of its own: own port mapper, own data, own plugins.
# The latter has a second listener with TLS.
# shellcheck shell=bash disable=SC2154 # the paths come from paths.sh

rabbitmq_image_release=4.1
# Where Debian keeps the program itself; the one on PATH changes to another user, who can't read a checkout.
rabbitmq_programs=/usr/lib/rabbitmq/bin

rabbitmq_why_not() {
    docker_answers || can_install || [[ -x $rabbitmq_programs/rabbitmq-server ]] ||
        echo "no Docker engine answers, $rabbitmq_programs is not there, and only root with apt-get may install it"
}

rabbitmq_up() {
    local KEYLANE_RABBITMQ_PORT
    KEYLANE_RABBITMQ_PORT=$(port client)
    export KEYLANE_RABBITMQ_PORT
    if docker_answers; then
        rm -rf "$dir/tls"
        if container_up rabbitmq; then
            say "rabbitmq: the container has no listener with TLS, its tests are skipped"
            return
        fi
        container_down rabbitmq || true
        mv -f "$dir/log" "$dir/docker.log"
        say "rabbitmq: the container did not start, see $dir/docker.log; trying without Docker"
    fi
    rabbitmq_process "$KEYLANE_RABBITMQ_PORT" "$(port tls)" "$(port nodes)" "$(port mapper)"
}

# The port mapper outlives the node that started it, and ends only when no node is known to it.
rabbitmq_down() {
    container_runs rabbitmq && container_down rabbitmq
    stop
    if [[ -s $dir/mapper.port ]] && listens "$(<"$dir/mapper.port")"; then
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$(<"$dir/mapper.port") epmd -kill >/dev/null || true
    fi
    rm -rf "$dir/data" "$dir/tls"
}

rabbitmq_status() {
    if alive; then
        echo "RabbitMQ on 127.0.0.1:$(<"$dir/client.port"), process $(cut -d ' ' -f 1 "$dir/pid")"
    elif container_runs rabbitmq; then
        echo "RabbitMQ $rabbitmq_image_release on 127.0.0.1:$(<"$dir/client.port"), container"
    else
        return 1
    fi
}

rabbitmq_env() {
    echo "export KEYLANE_TEST_RABBITMQ=amqp://guest:guest@127.0.0.1:$(<"$dir/client.port")/%2f"
    [[ -f $dir/tls/ca.pem ]] || return 0
    echo "export KEYLANE_TEST_RABBITMQ_TLS=amqps://guest:guest@127.0.0.1:$(<"$dir/tls.port")/%2f"
    printf 'export KEYLANE_TEST_RABBITMQ_CA=%q\n' "$dir/tls/ca.pem"
}

# rabbitmq_process CLIENT_PORT TLS_PORT NODES_PORT MAPPER_PORT
rabbitmq_process() {
    [[ -x $rabbitmq_programs/rabbitmq-server ]] || rabbitmq_install ||
        cannot "rabbitmq-server could not be installed"
    install_missing openssl=openssl || cannot "openssl could not be installed"
    rm -rf "$dir/data"
    mkdir -p "$dir/data/home"
    certificates "$dir/tls" || cannot "openssl made no certificates, see $dir/certificates.log"
    rabbitmq_conf "$1" "$2" >"$dir/rabbitmq.conf"
    echo '[{rabbit, [{channel_tick_interval, 1000}]}].' >"$dir/advanced.config"
    echo '[rabbitmq_consistent_hash_exchange].' >"$dir/plugins"
    say "rabbitmq: starting on 127.0.0.1:$1"
    # RUNNING_UNDER_SYSTEMD: the script becomes the server, so that the process we know is the one that has to end.
    # The names of two checkouts' nodes may be the same: their port mappers differ.
    start env HOME="$dir/data/home" RUNNING_UNDER_SYSTEMD=1 \
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$4" ERL_CRASH_DUMP="$dir/crash.dump" \
        RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced.config" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/plugins" \
        RABBITMQ_NODENAME=keylane@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$1" \
        RABBITMQ_DIST_PORT="$3" RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/data" RABBITMQ_LOGS=- \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \
        "$rabbitmq_programs/rabbitmq-server"
    wait_until 90 rabbitmq_settled "$1" "$2" || true
    rabbitmq_answers "$1" "$2" || {
        rabbitmq_down
        cannot "it did not start, see $dir/log"
    }
}

# Debian would start the package's own node at once, open to everybody.
rabbitmq_install() {
    can_install || return 1
    local policy=/usr/sbin/policy-rc.d ours=no status=0
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && ours=yes
    fi
    say "installing from Debian's packages: rabbitmq-server"
    apt_install rabbitmq-server || status=1
    [[ $ours == no ]] || rm -f "$policy"
    return "$status"
}

# rabbitmq_settled PORT PORT: nothing more to wait for, be it good or bad.
rabbitmq_settled() {
    gone || rabbitmq_answers "$1" "$2"
}

rabbitmq_answers() {
    grep -q 'Server startup complete' "$dir/log" && listens "$1" && listens "$2" && alive
}

# What differs from the defaults: loopback only, and a consumer timeout that a test can wait for. compose.yaml says the
# same of the container, but for the listener with TLS.
rabbitmq_conf() {
    cat <<CONF
listeners.tcp.default = 127.0.0.1:$1
listeners.ssl.default = 127.0.0.1:$2
ssl_options.cacertfile = $dir/tls/ca.pem
ssl_options.certfile = $dir/tls/server.pem
ssl_options.keyfile = $dir/tls/server.pem
ssl_options.verify = verify_none
consumer_timeout = 30000
disk_free_limit.absolute = 50MB
log.console.level = info
CONF
}
