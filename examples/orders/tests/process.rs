//! The real binary as a child process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use keylane_tests::process::{Process, Signal};

/// No single wait is longer; a test that gets there fails and shows what the processes said.
const WAIT_MAX: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A folder with all that the processes of one test share.
pub(crate) struct Scene {
    pub(crate) folder: tempfile::TempDir,
    config: PathBuf,
    variables: Vec<(String, String)>,
    started: std::cell::Cell<u32>,
}

impl Scene {
    /// With a configuration made of one that is shipped: each pair is replaced, and must be there.
    pub(crate) fn new(shipped: &str, replaced: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let toml = replaced.iter().fold(shipped.to_owned(), |toml, (old, new)| {
            assert!(toml.contains(old), "the configuration has no {old}");
            toml.replace(old, new)
        });
        let config = folder.path().join("orders.toml");
        std::fs::write(&config, toml).unwrap();
        Self { folder, config, variables: Vec::new(), started: std::cell::Cell::new(0) }
    }

    /// The same, its processes started with these environment variables.
    pub(crate) fn with_variables(mut self, variables: &[(&str, &str)]) -> Self {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.variables = owned.collect();
        self
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("orders.db")
    }

    pub(crate) fn trace(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    /// Bytes of handlers' lines so far.
    pub(crate) fn traced(&self) -> u64 {
        std::fs::metadata(self.trace()).map_or(0, |file| file.len())
    }

    /// Appends a line of ours among those of the handlers.
    pub(crate) fn note(&self, line: &str) {
        use std::io::Write;
        let mut file = File::options().append(true).create(true).open(self.trace()).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Orders {
        self.started.set(self.started.get() + 1);
        let said = self.folder.path().join(format!("said-{}", self.started.get()));
        let mut command = Command::new(binary());
        command
            .args(["--data".as_ref(), self.folder.path().as_os_str()])
            .args(["--config".as_ref(), self.config.as_os_str()])
            .args(["--trace".as_ref(), self.trace().as_os_str()])
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env_remove("RUST_LOG");
        Orders(Process::start(&mut command, said).unwrap())
    }
}

/// The release build that `tests/run` made for all tests, else cargo's own.
fn binary() -> PathBuf {
    match std::env::var_os("KEYLANE_BIN_DIR") {
        Some(folder) => Path::new(&folder).join("orders"),
        None => PathBuf::from(env!("CARGO_BIN_EXE_orders")),
    }
}

/// A running process; killed when dropped.
pub(crate) struct Orders(Process);

impl Orders {
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Sends SIGKILL and waits for the end. False: it had ended by itself.
    pub(crate) fn kill(&mut self) -> bool {
        self.0.kill().unwrap()
    }

    /// Waits until `happened`, or until the process ends by itself; true in the first case.
    pub(crate) fn until(&mut self, mut happened: impl FnMut() -> bool) -> bool {
        let began = Instant::now();
        while !happened() {
            if self.0.ended().unwrap().is_some() {
                return false;
            }
            assert!(began.elapsed() < WAIT_MAX, "nothing happened for {WAIT_MAX:?}:\n{}", self.said());
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// Waits for its own end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.until(|| false);
        self.0.ended().unwrap().unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.0.signal(signal).unwrap();
    }

    /// Stops it where it is, and waits until it stands still.
    pub(crate) fn pause(&mut self) {
        self.signal(Signal::STOP);
        let began = Instant::now();
        while !self.0.stands_still() {
            assert!(began.elapsed() < WAIT_MAX, "it does not stand still:\n{}", self.said());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What it wrote to both outputs.
    pub(crate) fn said(&self) -> String {
        self.0.said()
    }
}
