//! Links that can be cut and slowed down: Toxiproxy, by its HTTP interface.

use std::path::Path;
use std::time::Duration;

use keylane::{Error, ErrorKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Server;

/// How long it may take to answer, on a machine that is busy, before it is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How often it is asked.
const ASKED_MAX: u32 = 3;

/// The proxies of a run.
pub(crate) struct Toxiproxy {
    address: String,
    // Ends with this.
    _server: Server,
}

impl Toxiproxy {
    pub(crate) async fn up(state: &Path) -> Result<Self, Error> {
        let server = Server::up("toxiproxy", state, &[]).await?;
        let url = server.variable("KEYLANE_TEST_TOXIPROXY")?;
        let address = url.trim_start_matches("http://").to_owned();
        Ok(Self { address, _server: server })
    }

    /// A link to a port on loopback; the port where it begins.
    #[cfg(any(feature = "kafka", feature = "postgres", feature = "rabbitmq"))]
    pub(crate) async fn link(&self, name: &str, to: u16) -> Result<u16, Error> {
        let port = super::free_port()?;
        let (listen, upstream) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{to}"));
        let proxy = json!({ "name": name, "listen": listen, "upstream": upstream, "enabled": true });
        self.ask("POST", "/proxies", Some(proxy)).await?;
        Ok(port)
    }

    /// Cuts a link for a while: its connections end and no new one is made.
    pub(crate) async fn cut(&self, name: &str, lasts: Duration) -> Result<(), Error> {
        self.enable(name, false).await?;
        tokio::time::sleep(lasts).await;
        self.enable(name, true).await
    }

    /// Lets nothing through a link for a while, and nobody hears of it: connections stay open.
    pub(crate) async fn mute(&self, name: &str, lasts: Duration) -> Result<(), Error> {
        self.with_toxics(name, "timeout", json!({ "timeout": 0 }), lasts).await
    }

    /// Makes a link slow for a while, either way.
    pub(crate) async fn slow(&self, name: &str, by: Duration, lasts: Duration) -> Result<(), Error> {
        let by = by.as_millis() as u64;
        self.with_toxics(name, "latency", json!({ "latency": by, "jitter": by / 4 }), lasts).await
    }

    async fn enable(&self, name: &str, enabled: bool) -> Result<(), Error> {
        self.ask("POST", &format!("/proxies/{name}"), Some(json!({ "enabled": enabled }))).await
    }

    async fn with_toxics(
        &self,
        name: &str,
        kind: &str,
        attributes: Value,
        lasts: Duration,
    ) -> Result<(), Error> {
        const STREAMS: [&str; 2] = ["upstream", "downstream"];
        for stream in STREAMS {
            let toxic = json!({ "name": stream, "type": kind, "stream": stream, "attributes": attributes });
            self.ask("POST", &format!("/proxies/{name}/toxics"), Some(toxic)).await?;
        }
        tokio::time::sleep(lasts).await;
        for stream in STREAMS {
            self.ask("DELETE", &format!("/proxies/{name}/toxics/{stream}"), None).await?;
        }
        Ok(())
    }

    /// Asks until there is an answer. Whoever asks again may hear that it has been done already.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<(), Error> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut asked = 1;
        loop {
            let answer = tokio::time::timeout(ANSWER_MAX, self.talk(&request)).await;
            match answer.map_err(std::io::Error::from).and_then(std::convert::identity) {
                Ok(answer) if done(method, asked, &answer) => return Ok(()),
                Ok(answer) => {
                    let what = format!("toxiproxy refused {method} {path}: {answer}");
                    return Err(Error::new(ErrorKind::Config, what));
                }
                Err(error) if asked >= ASKED_MAX => {
                    let what = format!("toxiproxy did not do {method} {path}");
                    return Err(Error::new(ErrorKind::Config, what).with_source(error));
                }
                Err(error) => eprintln!("toxiproxy is asked again for {method} {path}: {error}"),
            }
            asked += 1;
        }
    }

    async fn talk(&self, request: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

fn done(method: &str, asked: u32, answer: &str) -> bool {
    let says = |status: &str| answer.starts_with(&format!("HTTP/1.1 {status}"));
    says("2") || asked > 1 && (method == "DELETE" && says("404") || method == "POST" && says("409"))
}
