//! A link to the server that can be cut: one proxy of Toxiproxy's for each that asks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Once;

/// A proxy of its own; it goes when this is dropped.
pub(crate) struct Proxy {
    api: String,
    name: String,
    /// Where to connect to.
    pub(crate) listen: String,
}

impl Proxy {
    /// A link to `upstream`, or nothing and one line that says so.
    pub(crate) fn to(upstream: &str) -> Option<Self> {
        static SKIPPED: Once = Once::new();
        let Ok(api) = std::env::var("KEYLANE_TEST_TOXIPROXY") else {
            let line =
                "skipped: cuts of rabbitmq's link need KEYLANE_TEST_TOXIPROXY (tests/brokers/up starts it)";
            SKIPPED.call_once(|| drop(writeln!(std::io::stderr(), "{line}")));
            return None;
        };
        let api = api.trim_start_matches("http://").to_owned();
        let name = format!("rabbitmq-{}", uuid::Uuid::new_v4());
        let made = request(
            &api,
            "POST",
            "/proxies",
            &format!(r#"{{"name":"{name}","listen":"127.0.0.1:0","upstream":"{upstream}","enabled":true}}"#),
        );
        let listen = made.split_once(r#""listen":""#).unwrap().1.split('"').next().unwrap().to_owned();
        Some(Self { api, name, listen })
    }

    /// Ends all connections and lets none in.
    pub(crate) fn cut(&self) {
        self.set(r#"{"enabled":false}"#);
    }

    pub(crate) fn mend(&self) {
        self.set(r#"{"enabled":true}"#);
    }

    /// Nothing passes any more, and nobody is told: as a cable that was pulled.
    pub(crate) fn silence(&self) {
        for stream in ["upstream", "downstream"] {
            let toxic = format!(r#"{{"type":"timeout","stream":"{stream}","attributes":{{"timeout":0}}}}"#);
            request(&self.api, "POST", &format!("/proxies/{}/toxics", self.name), &toxic);
        }
    }

    fn set(&self, state: &str) {
        request(&self.api, "POST", &format!("/proxies/{}", self.name), state);
    }
}

impl Drop for Proxy {
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
