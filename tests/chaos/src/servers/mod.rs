//! Servers of the driver's own, through the scripts of `tests/brokers`: with a folder and ports of their own, so that
//! killing them hurts nobody else, and known by their process ids, so that nobody else is ever hit.

mod toxiproxy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keylane::{Error, ErrorKind};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

pub(crate) use toxiproxy::Toxiproxy;

use crate::clock::{nanos, now};

/// How long a server may take to come back.
const BACK_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server that was started here, and ends when it is dropped.
pub(crate) struct Server {
    name: &'static str,
    state: PathBuf,
    /// What its script told: `KEYLANE_TEST_…`.
    variables: BTreeMap<String, String>,
}

impl Server {
    /// Starts one in this folder; `settings` are variables for its script.
    pub(crate) async fn up(
        name: &'static str,
        state: &Path,
        settings: &[(&str, String)],
    ) -> Result<Self, Error> {
        let mut server = Self { name, state: state.to_owned(), variables: BTreeMap::new() };
        let mut command = server.command("up");
        command.arg(name).envs(settings.iter().map(|(name, value)| (name, value)));
        let told = command.output().await.map_err(|error| failed(name, "started").with_source(error))?;
        for line in String::from_utf8_lossy(&told.stdout).lines() {
            if let Some((name, value)) = line.strip_prefix("export ").and_then(|line| line.split_once('=')) {
                server.variables.insert(name.to_owned(), value.to_owned());
            }
        }
        if server.variables.is_empty() {
            let why = String::from_utf8_lossy(&told.stderr);
            return Err(Error::new(ErrorKind::Config, format!("{name} can't be had here: {}", why.trim())));
        }
        Ok(server)
    }

    /// A script of `tests/brokers`, in this server's world.
    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.arg(scripts().join(script)).env("KEYLANE_SERVERS_STATE", &self.state);
        command.env("KEYLANE_SERVERS_DOCKER", "no");
        // One that the environment names is somebody else's.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KEYLANE_TEST_")) {
            command.env_remove(name);
        }
        command
    }

    /// What its script told.
    pub(crate) fn variable(&self, name: &str) -> Result<&str, Error> {
        let found = self.variables.get(name);
        let missing = || Error::new(ErrorKind::Config, format!("the script of {} told no {name}", self.name));
        Ok(found.ok_or_else(missing)?.as_str())
    }

    /// Kills it, leaves it dead for a while, and starts it again over its data, until `answers`.
    pub(crate) async fn fall<F: Future<Output = bool>>(
        &self,
        signal: Signal,
        dead: Duration,
        answers: impl Fn() -> F,
    ) -> Result<(), Error> {
        let pid = self.pid().ok_or_else(|| failed(self.name, "found"))?;
        kill_process(pid, signal).map_err(|error| failed(self.name, "killed").with_source(error))?;
        while is_alive(pid) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::time::sleep(dead).await;
        let bound = now() + nanos(BACK_MAX);
        while now() < bound {
            // A database does not start while processes of its old life still hold its memory.
            if !self.pid().is_some_and(is_alive) {
                let mut again = self.command("lib/server.sh");
                again.args([self.name, "again"]);
                let _ = again.output().await;
            }
            if answers().await {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(failed(self.name, "started again"))
    }

    /// The process that its script recorded.
    fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.state.join(self.name).join("pid")).ok()?;
        Pid::from_raw(text.split(' ').next()?.parse().ok()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut down = self.command("down");
        down.arg(self.name);
        if let Err(error) = down.as_std_mut().stdout(std::process::Stdio::null()).status() {
            eprintln!("{} was not ended: {error}", self.name);
        }
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../brokers")
}

/// Neither gone nor waiting to be reaped.
fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn failed(name: &str, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{name} could not be {what}"))
}

/// A port on loopback that nobody listens on.
#[cfg(any(feature = "kafka", feature = "postgres", feature = "rabbitmq"))]
pub(crate) fn free_port() -> Result<u16, Error> {
    let none = |error: std::io::Error| Error::new(ErrorKind::Config, "no free port").with_source(error);
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(none)?;
    Ok(listener.local_addr().map_err(none)?.port())
}

/// Whether anybody listens at this address.
#[cfg(any(feature = "kafka", feature = "rabbitmq"))]
pub(crate) async fn listens(address: &str) -> bool {
    tokio::net::TcpStream::connect(address).await.is_ok()
}
