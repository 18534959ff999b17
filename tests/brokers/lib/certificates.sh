# A certificate for a server on loopback, signed by an authority of its own. Made anew at each start.
# shellcheck shell=bash disable=SC2154 # $dir comes from server.sh

# certificates FOLDER: leaves there ca.pem, for clients, and server.pem, the key (PKCS #8) and the certificate.
# The authority's key goes: nothing else is ever signed by it.
certificates() {
    rm -rf "$1"
    # One chain, because callers ask whether it went well, and `set -e` is dead then.
    (
        umask 077 && mkdir -p "$1" && cd "$1" &&
            openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=Keylane test authority" \
                -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem &&
            openssl req -new -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr &&
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -set_serial 1 -days 365 -out server.crt \
                -extfile <(echo subjectAltName=IP:127.0.0.1,DNS:localhost) &&
            cat server.key server.crt >server.pem &&
            rm ca.key server.key server.csr server.crt
    ) >"$dir/certificates.log" 2>&1 </dev/null
}
