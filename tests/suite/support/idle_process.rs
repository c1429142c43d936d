//! A process that does nothing.

use std::process::{Child, Command, Stdio};

/// A process that does nothing until it is ended, which a failing test does too.
pub struct IdleProcess(Child);

impl IdleProcess {
    pub fn start() -> Self {
        IdleProcess(
            Command::new("sleep").arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
        )
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills and reaps it.
    pub fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for IdleProcess {
    fn drop(&mut self) {
        self.end();
    }
}
