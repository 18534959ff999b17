//! A process that a test starts, stops, continues and kills; it ends with its owner.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// A running process. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: PathBuf,
}

impl Process {
    /// Starts it, both of its outputs going to the file `said`.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(command: &mut Command, said: PathBuf) -> io::Result<Self> {
        let out = File::create(&said)?;
        let child = command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out).spawn()?;
        Ok(Self { child, said })
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// What the system says.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends SIGKILL and waits for the end. False: it had ended by itself.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> io::Result<bool> {
        if self.child.try_wait()?.is_some() {
            return Ok(false);
        }
        self.child.kill()?;
        // No code: it did not come to its own end in between.
        Ok(self.child.wait()?.code().is_none())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// What the system says, such as that it is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = Pid::from_child(&self.child);
        Ok(kill_process(pid, signal)?)
    }

    /// True while it stands still, after [`Signal::STOP`].
    #[must_use]
    pub fn stands_still(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        stat.is_ok_and(|stat| stat.contains(") T "))
    }

    /// What it wrote to both outputs so far.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
