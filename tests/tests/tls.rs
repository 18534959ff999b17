//! One crypto provider for TLS in all adapters: with two of them linked, rustls could not choose, and would panic in
//! the service's own code as well.

// Linked, not called: a crate that nothing names is left out.
use keylane_kafka as _;
use keylane_log as _;
use keylane_postgres as _;
use keylane_rabbitmq as _;
use keylane_sqlite as _;

#[test]
fn all_adapters_together_leave_a_default_client_configuration_possible() {
    let roots = rustls::RootCertStore::empty();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    assert!(!config.crypto_provider().cipher_suites.is_empty());
}
