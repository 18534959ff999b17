//! What the first command of the README compiles.

use std::process::Command;

use super::root;

/// Heavy clients, protocol compilers, other databases, TLS. A crate counts by its name's beginning.
const HEAVY: [&str; 14] = [
    "rdkafka",
    "prost",
    "protoc",
    "protobuf",
    "tonic",
    "postgres",
    "tokio-postgres",
    "sqlx-postgres",
    "aws-",
    "rustls",
    "native-tls",
    "openssl",
    "ring",
    "schannel",
];

#[test]
fn orders_compiles_no_heavy_client_and_no_tls() {
    if !root().join("examples/orders").exists() {
        eprintln!("skipped orders_compiles_no_heavy_client_and_no_tls: there is no examples/orders");
        return;
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments = ["tree", "-p", "orders", "-e", "normal", "--prefix", "none", "--locked", "--offline"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.contains("keylane-sqlite "), "the tree of orders is not what it should be:\n{tree}");
    let heavy: Vec<&str> = tree.lines().filter(|line| is_heavy(line)).collect();
    assert!(heavy.is_empty(), "`cargo run -p orders` compiles {heavy:?}; put it behind a feature");
}

fn is_heavy(line: &str) -> bool {
    let name = line.split(' ').next().unwrap_or_default();
    HEAVY.iter().any(|heavy| match heavy.strip_suffix('-') {
        Some(_) => name.starts_with(heavy),
        None => name == *heavy || name.strip_prefix(heavy).is_some_and(|rest| rest.starts_with('-')),
    })
}

#[test]
fn heavy_crates_are_known_by_their_names() {
    assert!(is_heavy("rdkafka-sys v4.9.0") && is_heavy("ring v0.17.1") && is_heavy("aws-lc-rs v1.0.0"));
    assert!(!is_heavy("ringbuffer v1.0.0") && !is_heavy("keylane v0.1.0 (/x)"));
}
