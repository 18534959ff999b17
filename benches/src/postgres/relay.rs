//! A relay before the server that counts round trips: how often a client speaks after the server spoke.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::Broken;

/// Takes connections until it is dropped.
pub(super) struct Relay {
    /// The server's address, by way of the relay.
    pub(super) url: String,
    trips: Arc<AtomicU64>,
    accepting: AbortHandle,
}

impl Relay {
    pub(super) async fn start(url: &str) -> Result<Self, Broken> {
        let options = PgConnectOptions::from_str(url)?;
        let server = format!("{}:{}", options.get_host(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let here = listener.local_addr()?;
        let relayed = url.replacen(&format!("@{server}/"), &format!("@{here}/"), 1);
        if relayed == url {
            return Err("KEYLANE_TEST_POSTGRES names no host and port to stand before".into());
        }
        let trips = Arc::new(AtomicU64::new(0));
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&trips))).abort_handle();
        Ok(Self { url: relayed, trips, accepting })
    }

    pub(super) fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: String, trips: Arc<AtomicU64>) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let server = TcpStream::connect(&server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let answered = Arc::new(AtomicBool::new(true));
        let (trips, heard) = (Arc::clone(&trips), Arc::clone(&answered));
        tokio::spawn(pass_on(from_client, to_server, move || {
            if heard.swap(false, Ordering::Relaxed) {
                trips.fetch_add(1, Ordering::Relaxed);
            }
        }));
        tokio::spawn(pass_on(from_server, to_client, move || answered.store(true, Ordering::Relaxed)));
    }
}

/// Until either side ends; dropped, the other one's half is closed.
async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    note: impl Fn(),
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        note();
        to.write_all(&buffer[..read]).await?;
    }
}
