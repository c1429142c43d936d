//! A few connections, lent out one at a time, with a bound on the wait.

use crate::error::{Error, Result};
use crate::sync::{IgnorePoison, LONGEST_WAIT};
use rusqlite::Connection;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

#[derive(Debug)]
pub struct ConnectionPool {
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

impl ConnectionPool {
    pub fn new(connections: Vec<Connection>) -> Self {
        ConnectionPool { idle: Mutex::new(connections), returned: Condvar::new() }
    }

    /// Lends a connection to `work`, waiting for one until `deadline`.
    pub fn with<T>(&self, deadline: Instant, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut lent = PooledConnection { from: self, connection: Some(self.take(deadline)?) };
        match lent.connection.as_mut() {
            Some(connection) => work(connection),
            None => Err(Error::internal("a catalog connection was lent out twice")),
        }
    }

    /// Those that are not lent out, which leave.
    pub fn take_all(&mut self) -> Vec<Connection> {
        std::mem::take(self.idle.get_mut().ignore_poison())
    }

    fn take(&self, deadline: Instant) -> Result<Connection> {
        let mut idle = self.idle.lock().ignore_poison();
        loop {
            if let Some(connection) = idle.pop() {
                return Ok(connection);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = LONGEST_WAIT.as_secs();
                return Err(Error::catalog(format!(
                    "was busy with other operations of this process for {seconds} s. Try again later."
                )));
            }
            idle = self.returned.wait_timeout(idle, left).ignore_poison().0;
        }
    }
}

/// Gives its connection back when dropped, a panic in `work` included.
struct PooledConnection<'p> {
    from: &'p ConnectionPool,
    connection: Option<Connection>,
}

impl Drop for PooledConnection<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.from.idle.lock().ignore_poison().push(connection);
            self.from.returned.notify_one();
        }
    }
}
