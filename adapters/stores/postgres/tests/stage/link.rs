//! A link to the server that can be cut: a proxy of Toxiproxy's.

use std::io::{Read, Write};
use std::net::TcpStream;

/// A proxy of its own; it goes when this is dropped.
pub(crate) struct Link {
    api: String,
    name: String,
    /// The server's address by way of it.
    pub(crate) url: String,
}

impl Link {
    /// To the server of this address, without TLS, by the Toxiproxy at `api`.
    pub(crate) fn to(url: &str, api: &str, name: &str) -> Self {
        let api = api.trim_start_matches("http://").to_owned();
        let (head, rest) = url.rsplit_once('@').unwrap();
        let (server, tail) = rest.split_once('/').unwrap();
        let proxy =
            format!(r#"{{"name":"{name}","listen":"127.0.0.1:0","upstream":"{server}","enabled":true}}"#);
        let made = request(&api, "POST", "/proxies", &proxy);
        let listen = made.split_once(r#""listen":""#).unwrap().1.split('"').next().unwrap();
        let url = format!("{head}@{listen}/{tail}?sslmode=disable");
        Self { api, name: name.to_owned(), url }
    }

    /// Ends all connections and lets none in.
    pub(crate) fn cut(&self) {
        self.set(r#"{"enabled":false}"#);
    }

    pub(crate) fn mend(&self) {
        self.set(r#"{"enabled":true}"#);
    }

    fn set(&self, state: &str) {
        request(&self.api, "POST", &format!("/proxies/{}", self.name), state);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        request(&self.api, "DELETE", &format!("/proxies/{}", self.name), "");
    }
}

/// Toxiproxy answers within a millisecond, so that nobody minds the blocking.
fn request(api: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(api).unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {api}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let good = ["200", "201", "204"].iter().any(|code| answer.starts_with(&format!("HTTP/1.0 {code}")));
    assert!(good, "{method} {path}: {answer}");
    answer
}
