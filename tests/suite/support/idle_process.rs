//! Another process.

use std::process::{Child, Command, Stdio};

/// A process that does nothing until it is ended, which a failing test does too.
pub struct Sleeper(Child);

impl Sleeper {
    pub fn start() -> Self {
        Sleeper(Command::new("sleep").arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it for good: no zombie stays.
    pub fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.end();
    }
}
