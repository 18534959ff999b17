//! The worker processes: in four places, three of them taken at first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use keylane::{Error, ErrorKind};
use keylane_tests::process::{Process, Signal};

use super::Options;
use super::ground::Ground;
use crate::clock::{Nanos, nanos, now};
use crate::plan::{PLACES, WORKERS};
use crate::turns::Life;

/// How long a worker may take to have its session, or to end when told to.
const START_MAX: Duration = Duration::from_secs(60);
const BUSY_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The workers.
pub(super) struct Crew {
    options: Options,
    places: [Option<Process>; PLACES],
    /// Those told to end, until they did.
    leaving: Vec<Process>,
    started: usize,
    pids: Vec<u32>,
    deaths: BTreeMap<u32, Nanos>,
    unasked: Vec<String>,
}

impl Crew {
    /// Writes the configuration of each place.
    pub(super) fn new(options: &Options, ground: &Ground) -> Result<Self, Error> {
        for place in 0..PLACES {
            let config = ground.config(options, place);
            std::fs::write(config_of(options, place), config).map_err(failed)?;
        }
        Ok(Self {
            options: options.clone(),
            places: Default::default(),
            leaving: Vec::new(),
            started: 0,
            pids: Vec::new(),
            deaths: BTreeMap::new(),
            unasked: Vec::new(),
        })
    }

    /// Starts the first three and waits until each has its session.
    pub(super) async fn start_all(&mut self) -> Result<(), Error> {
        for place in 0..WORKERS {
            self.start(place)?;
        }
        let bound = now() + nanos(START_MAX);
        for place in 0..WORKERS {
            while !self.wrote(place, "promised ") {
                if now() > bound || !self.mend().await?.is_empty() {
                    let said = self.places[place].as_ref().map(Process::said).unwrap_or_default();
                    let what = format!("worker {place} did not start: {}{said}", self.unasked.join("\n"));
                    return Err(Error::new(ErrorKind::Config, what));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Waits until each worker has handled something, or for as long as that may take: a group that forms in steps may
    /// leave one of them without anything for a while.
    pub(super) async fn all_busy(&mut self) -> Result<(), Error> {
        let bound = now() + nanos(BUSY_MAX);
        while now() < bound && !(0..WORKERS).all(|place| self.wrote(place, "start ")) {
            self.mend().await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// True when the worker in this place has written such a line.
    fn wrote(&self, place: usize, word: &str) -> bool {
        let Some(process) = &self.places[place] else { return false };
        let lines = std::fs::read_to_string(self.lines_of(process.pid())).unwrap_or_default();
        lines.lines().any(|line| line.starts_with(word))
    }

    /// Starts a worker in a free place.
    pub(super) fn start(&mut self, place: usize) -> Result<(), Error> {
        self.started += 1;
        let nth = self.started;
        let options = &self.options;
        let mut command = Command::new(&options.program);
        // Its file of lines is named by its pid, which it has only later: it is renamed then.
        let lines = options.folder.join(format!("lines-of-{nth}"));
        command
            .arg("worker")
            .args(["--config".as_ref(), config_of(options, place).as_os_str()])
            .args(["--lines".as_ref(), lines.as_os_str()])
            .args(["--seed", &options.seed.to_string(), "--long", &options.long.to_string()]);
        if let Some(store) = options.store.to_possible_value() {
            command.args(["--store", store.get_name()]);
        }
        let process =
            Process::start(&mut command, options.folder.join(format!("said-{nth}"))).map_err(failed)?;
        std::os::unix::fs::symlink(&lines, self.lines_of(process.pid())).map_err(failed)?;
        self.pids.push(process.pid());
        self.places[place] = Some(process);
        Ok(())
    }

    fn lines_of(&self, pid: u32) -> PathBuf {
        self.options.folder.join(format!("lines-{pid}"))
    }

    /// The process in a place, if there is one.
    pub(super) fn pid(&self, place: usize) -> Option<u32> {
        self.places[place].as_ref().map(Process::pid)
    }

    /// SIGKILL; the place is free then.
    pub(super) fn kill(&mut self, place: usize) -> Result<(), Error> {
        if let Some(mut process) = self.places[place].take() {
            process.kill().map_err(failed)?;
            self.deaths.insert(process.pid(), now());
        }
        Ok(())
    }

    /// Sends a signal to the worker in a place.
    pub(super) fn signal(&self, place: usize, signal: Signal) -> Result<(), Error> {
        match &self.places[place] {
            Some(process) => process.signal(signal).map_err(failed),
            None => Ok(()),
        }
    }

    /// SIGTERM; the place is free at once, the process ends in its time.
    pub(super) fn dismiss(&mut self, place: usize) -> Result<(), Error> {
        if let Some(process) = self.places[place].take() {
            process.signal(Signal::TERM).map_err(failed)?;
            self.leaving.push(process);
        }
        Ok(())
    }

    /// Notes who ended. Whoever was not told to is replaced, and that it ended is noted: a fault is no reason
    /// for a worker to give up.
    pub(super) async fn mend(&mut self) -> Result<Vec<u32>, Error> {
        let mut ended = Vec::new();
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.retain_mut(|process| match process.ended() {
            Ok(Some(status)) => {
                self.deaths.insert(process.pid(), now());
                if !status.success() {
                    let said = process.said();
                    self.unasked.push(format!("{} was told to end and said {status}: {said}", process.pid()));
                }
                false
            }
            _ => true,
        });
        self.leaving = leaving;
        for place in 0..PLACES {
            let Some(process) = &mut self.places[place] else { continue };
            if let Some(status) = process.ended().map_err(failed)? {
                let (pid, said) = (process.pid(), process.said());
                self.unasked.push(format!("{pid} ended by itself, {status}: {said}"));
                self.deaths.insert(pid, now());
                self.places[place] = None;
                ended.push(pid);
                self.start(place)?;
            }
        }
        Ok(ended)
    }

    /// Tells everybody to end, and waits. Who does not end is killed, and noted.
    pub(super) async fn end_all(&mut self) -> Result<(), Error> {
        self.mend().await?;
        for place in 0..PLACES {
            self.dismiss(place)?;
        }
        let bound = now() + nanos(END_MAX);
        while !self.leaving.is_empty() {
            self.mend().await?;
            if now() > bound {
                for mut process in std::mem::take(&mut self.leaving) {
                    process.kill().map_err(failed)?;
                    self.deaths.insert(process.pid(), now());
                    self.unasked.push(format!("{} did not end when told to", process.pid()));
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// What each process left.
    pub(super) fn lives(&self) -> Result<BTreeMap<u32, Life>, Error> {
        let life = |&pid: &u32| {
            // One that was killed at once may have left nothing.
            let text = std::fs::read_to_string(self.lines_of(pid)).unwrap_or_default();
            Ok((pid, Life::read(&text)))
        };
        self.pids.iter().map(life).collect()
    }

    /// When each process ended.
    pub(super) fn deaths(&self) -> &BTreeMap<u32, Nanos> {
        &self.deaths
    }

    /// What ended though nobody asked for it.
    pub(super) fn unasked(&self) -> &[String] {
        &self.unasked
    }
}

fn config_of(options: &Options, place: usize) -> PathBuf {
    options.folder.join(format!("worker-{place}.toml"))
}

fn failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, "a worker process could not be handled").with_source(error)
}
