# Apache Kafka: the official image, else the same release from Maven, as a KRaft broker that is its own controller.
# The latter has a second listener with TLS, to which users prove a password.
# shellcheck shell=bash disable=SC2154 # the paths come from paths.sh

kafka_release=4.1.0
kafka_jars="kafka-$kafka_release"
# The storage is formatted anew at each start, so the cluster needs no id of its own.
kafka_cluster=5L6g3nShT-eMCtK--X86sw
# Who may come in by TLS: one user for each way to prove the password, which is drawn at each start.
kafka_plain_user=keylane-plain
kafka_scram_user=keylane-scram

kafka_why_not() {
    docker_answers || java_why_not 17 "$kafka_jars"
}

kafka_up() {
    local KEYLANE_KAFKA_PORT
    KEYLANE_KAFKA_PORT=$(port client)
    export KEYLANE_KAFKA_PORT
    if docker_answers; then
        rm -rf "$dir/tls"
        if container_up kafka; then
            say "kafka: the container has no listener with TLS, its tests are skipped"
            return
        fi
        container_down kafka || true
        mv -f "$dir/log" "$dir/docker.log"
        say "kafka: the container did not start, see $dir/docker.log; trying without Docker"
    fi
    kafka_process "$KEYLANE_KAFKA_PORT" "$(port controller)" "$(port tls)"
}

kafka_down() {
    container_runs kafka && container_down kafka
    stop
    rm -rf "$dir/data" "$dir/tls"
}

kafka_status() {
    if alive; then
        echo "Kafka $kafka_release on 127.0.0.1:$(<"$dir/client.port"), process $(cut -d ' ' -f 1 "$dir/pid")"
    elif container_runs kafka; then
        echo "Kafka on 127.0.0.1:$(<"$dir/client.port"), container"
    else
        return 1
    fi
}

kafka_env() {
    echo "export KEYLANE_TEST_KAFKA=127.0.0.1:$(<"$dir/client.port")"
    [[ -f $dir/tls/password ]] || return 0
    echo "export KEYLANE_TEST_KAFKA_TLS=127.0.0.1:$(<"$dir/tls.port")"
    printf 'export KEYLANE_TEST_KAFKA_CA=%q\n' "$dir/tls/ca.pem"
    echo "export KEYLANE_TEST_KAFKA_PLAIN_USER=$kafka_plain_user"
    echo "export KEYLANE_TEST_KAFKA_SCRAM_USER=$kafka_scram_user"
    echo "export KEYLANE_TEST_KAFKA_PASSWORD=$(<"$dir/tls/password")"
}

# kafka_process CLIENT_PORT CONTROLLER_PORT TLS_PORT
kafka_process() {
    local classes="$cache/jars/$kafka_jars/*"
    maven_jars "$kafka_jars" "org.apache.kafka:kafka_2.13:$kafka_release" org.slf4j:slf4j-simple:1.7.36
    install_missing java=default-jre-headless || cannot "java could not be installed"
    install_missing openssl=openssl || cannot "openssl could not be installed"
    rm -rf "$dir/data"
    certificates "$dir/tls" || cannot "openssl made no certificates, see $dir/certificates.log"
    (umask 077 && openssl rand -hex 16 >"$dir/tls/password" && kafka_properties "$@" >"$dir/server.properties")
    java -Xmx256m -cp "$classes" kafka.tools.StorageTool format \
        --cluster-id "$kafka_cluster" --config "$dir/server.properties" \
        --add-scram "SCRAM-SHA-512=[name=$kafka_scram_user,password=$(<"$dir/tls/password")]" \
        >"$dir/log" 2>&1 </dev/null || cannot "its storage could not be formatted, see $dir/log"
    say "kafka: starting on 127.0.0.1:$1"
    start java -Xmx768m -Djava.awt.headless=true -Dorg.slf4j.simpleLogger.showDateTime=true \
        -cp "$classes" kafka.Kafka "$dir/server.properties"
    wait_until 60 kafka_settled "$1" "$3" || true
    kafka_answers "$1" "$3" || {
        stop
        cannot "it did not start, see $dir/log"
    }
}

# kafka_settled PORT PORT: nothing more to wait for, be it good or bad.
kafka_settled() {
    gone || kafka_answers "$1" "$2"
}

kafka_answers() {
    grep -q 'Kafka Server started' "$dir/log" && listens "$1" && listens "$2" && alive
}

# KEYLANE_KAFKA_LINKS: further listeners, each PORT=ADDRESS. Who comes by that port is told to go on by that address:
# that of a proxy, so that a client can be cut off from the broker and not only from its bootstrap address.
# kafka_links TEXT: the text for each of them, @N its number, @P the port, @A the address.
kafka_links() {
    local link text n=0
    for link in ${KEYLANE_KAFKA_LINKS:-}; do
        text=${1//@N/$n}
        text=${text//@P/${link%%=*}}
        printf ',%s' "${text//@A/${link#*=}}"
        n=$((n + 1))
    done
}

# What differs from the defaults is what one broker alone needs, and what keeps tests short: a group that forms at
# once, and a dead member that is noticed in seconds. compose.yaml says the same of the container, but for the listener with TLS.
kafka_properties() {
    local modules=org.apache.kafka.common.security
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$2
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2,TLS://127.0.0.1:$3$(kafka_links 'link@N://127.0.0.1:@P')
advertised.listeners=PLAINTEXT://127.0.0.1:$1,TLS://127.0.0.1:$3$(kafka_links 'link@N://@A')
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SASL_SSL$(kafka_links 'link@N:PLAINTEXT')
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location=$dir/tls/server.pem
listener.name.tls.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.tls.plain.sasl.jaas.config=$modules.plain.PlainLoginModule required user_$kafka_plain_user="$(<"$dir/tls/password")";
listener.name.tls.scram-sha-512.sasl.jaas.config=$modules.scram.ScramLoginModule required;
log.dirs=$dir/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=200
group.consumer.heartbeat.interval.ms=1000
PROPERTIES
}
