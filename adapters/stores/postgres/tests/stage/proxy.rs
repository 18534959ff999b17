//! What stands between a worker and the server: counts answers, loses one, or stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A proxy on loopback, for connections without TLS.
pub(crate) struct Proxy {
    /// The server's address by way of it.
    pub(crate) url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// How often the server was ready for more: as many are the round trips.
    answers: AtomicUsize,
    /// The next answer that contains these words is lost with its connection.
    losing: std::sync::Mutex<Option<&'static [u8]>>,
    /// Nothing passes any more, nor is anything closed.
    frozen: AtomicBool,
}

impl Proxy {
    /// Before the server of this address.
    pub(crate) async fn before(url: &str) -> Self {
        let (head, rest) = url.rsplit_once('@').unwrap();
        let (server, tail) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let join = if tail.contains('?') { '&' } else { '?' };
        let url = format!("{head}@{}/{tail}{join}sslmode=disable", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        tokio::spawn(accept(listener, server.to_owned(), state.clone()));
        Self { url, state }
    }

    /// Answers since the last call.
    pub(crate) fn answers(&self) -> usize {
        self.state.answers.swap(0, Ordering::SeqCst)
    }

    /// Loses the next answer in which these words stand.
    pub(crate) fn lose(&self, words: &'static [u8]) {
        *self.state.losing.lock().unwrap() = Some(words);
    }

    pub(crate) fn freeze(&self) {
        self.state.frozen.store(true, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, server: String, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = TcpStream::connect(&server).await.unwrap().into_split();
        tokio::spawn(requests(from_client, to_server, state.clone()));
        tokio::spawn(answers(from_server, to_client, state.clone()));
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if state.frozen.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Message by message: a letter, four bytes of length, the rest.
async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>) {
    let mut head = [0; 5];
    loop {
        let read = from.read_exact(&mut head).await.is_ok();
        if state.frozen.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if !read {
            return;
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; length as usize - 4];
        from.read_exact(&mut body).await.unwrap();
        let lost = {
            let mut losing = state.losing.lock().unwrap();
            let words = losing.filter(|words| body.windows(words.len()).any(|part| part == *words));
            words.is_some_and(|_| losing.take().is_some())
        };
        if lost {
            return;
        }
        if head[0] == b'Z' {
            state.answers.fetch_add(1, Ordering::SeqCst);
        }
        if to.write_all(&head).await.is_err() || to.write_all(&body).await.is_err() {
            return;
        }
    }
}
