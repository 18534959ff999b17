//! How to connect.

use std::str::FromStr;

use keylane::{Error, ErrorKind};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::config::PostgresConfig;

const REMEDY: &str = "set store.postgres.url, or hand a pool over by Postgres::with_pool";

/// What an address may say behind its question mark; the client passes over the rest in silence.
const KNOWN: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// What other clients know there, and providers write. Ours passes over it, and says so in the log.
const PASSED_OVER: [&str; 18] = [
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "pgbouncer",
    "pool_timeout",
    "sslnegotiation",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// From the URL that is called so in the configuration, or from the service's pool; `pooled`: a pooler for transactions
/// stands between.
pub(super) fn options(
    config: &PostgresConfig,
    called: &str,
    pool: Option<&PgPool>,
    pooled: bool,
) -> Result<PgConnectOptions, Error> {
    let options = match (&config.url, pool) {
        (Some(_), Some(_)) => {
            return Err(wrong("store.postgres.url is set, and a pool is handed over; keep one"));
        }
        (None, None) => return Err(wrong(format!("there is no database; {REMEDY}"))),
        (None, Some(pool)) => (*pool.connect_options()).clone(),
        (Some(url), None) => from_url(url.expose(), called)?,
    };
    let options = options.application_name("keylane");
    Ok(match pooled {
        false => options,
        // A server's connection is another's in the next transaction: nothing stays prepared on it, and the pooler
        // refuses start parameters that it does not know.
        true => options.statement_cache_capacity(0).extra_float_digits(None),
    })
}

/// The URL is a secret: no error repeats it.
fn from_url(url: &str, called: &str) -> Result<PgConnectOptions, Error> {
    let unreadable =
        || wrong(format!("{called} can't be read; write postgres://user:password@host:port/database"));
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(unreadable());
    }
    let keys = url.split_once('?').map_or("", |(_, keys)| keys);
    let names = || keys.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty());
    let is_known =
        |name: &str| KNOWN.contains(&name) || PASSED_OVER.contains(&name) || name.starts_with("options[");
    if !names().all(is_known) {
        let known = KNOWN.join(", ");
        let what = format!("{called} has an option behind its `?` that is not known; known are {known}");
        return Err(wrong(what));
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| match keys {
        "" => unreadable(),
        _ => wrong(format!("{called} can't be read; look at the values behind its `?`, such as sslmode")),
    })?;
    if options.get_database().is_some_and(|database| database.contains('@')) {
        // A slash of the password that is not written `%2F`: what stands behind it is no database.
        return Err(unreadable());
    }
    let says = names().any(|name| matches!(name, "sslmode" | "ssl-mode"));
    // Who can stand between must not be believed without a certificate.
    let verify = !says && !is_local(&options);
    Ok(if verify { options.ssl_mode(PgSslMode::VerifyFull) } else { options })
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback || host == "localhost" || host.starts_with('/') || options.get_socket().is_some()
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_verified_beyond_loopback() {
        for (url, verified) in [
            ("postgres://a:b@db.example/c", true),
            ("postgres://a:b@10.0.0.7/c?application_name=x", true),
            ("postgres://a:b@db.example/c?sslmode=require", false),
            ("postgres://a:b@127.0.0.1/c", false),
            ("postgres://a:b@localhost/c", false),
            ("postgres://a:b@db.example/c?application_name=xsslmode=1&connect_timeout=5", true),
        ] {
            let mode = from_url(url, "url").unwrap().get_ssl_mode();
            assert_eq!(matches!(mode, PgSslMode::VerifyFull), verified, "{url}");
        }
    }

    #[test]
    fn an_unreadable_url_is_not_repeated() {
        for url in [
            "postgres//user:hunter2@host",
            "mysql://user:hunter2@host/a",
            "postgres://user:hunter2@host/a?sslmod=disable",
            "postgres://user:hunter2@host/a?sslmode=hunter2",
            "postgres://user:hun?hunter2@host/a",
            "postgres://user:12/hunter2@host/a",
        ] {
            let error = from_url(url, "store.postgres.url").unwrap_err();
            assert!(error.to_string().starts_with("store.postgres.url "), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        for url in ["postgresql://a@b/c?options[search_path]=x&sslrootcert=ca.pem", "postgres://a@b/c?"] {
            from_url(url, "url").unwrap();
        }
    }
}
