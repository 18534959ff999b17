//! How to connect.

use std::str::FromStr;

use keylane::{Error, ErrorKind};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::config::PostgresConfig;

const REMEDY: &str = "set store.postgres.url, or hand a pool over by Postgres::with_pool";

/// From the URL, or from the service's pool; `pooled`: a pooler for transactions stands between.
pub(super) fn options(
    config: &PostgresConfig,
    pool: Option<&PgPool>,
    pooled: bool,
) -> Result<PgConnectOptions, Error> {
    let options = match (&config.url, pool) {
        (Some(_), Some(_)) => {
            return Err(wrong("store.postgres.url is set, and a pool is handed over; keep one"));
        }
        (None, None) => return Err(wrong(format!("there is no database; {REMEDY}"))),
        (None, Some(pool)) => (*pool.connect_options()).clone(),
        (Some(url), None) => from_url(url.expose())?,
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
fn from_url(url: &str) -> Result<PgConnectOptions, Error> {
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        wrong("store.postgres.url can't be read; write postgres://user:password@host:port/database")
    })?;
    let says =
        url.split_once('?').is_some_and(|(_, keys)| keys.contains("sslmode=") || keys.contains("ssl-mode="));
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
        ] {
            let mode = from_url(url).unwrap().get_ssl_mode();
            assert_eq!(matches!(mode, PgSslMode::VerifyFull), verified, "{url}");
        }
    }

    #[test]
    fn an_unreadable_url_is_not_repeated() {
        let error = from_url("postgres//user:hunter2@host").unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
