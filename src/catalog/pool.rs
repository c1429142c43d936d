//! A pool of SQLite connections with a bound on the wait.

use crate::error::{Error, Result};
use crate::sync::{IgnorePoison, LOCK_TIMEOUT};
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

    /// Runs `work` with a connection. Fails if no connection is free at `deadline`.
    pub fn with<T>(&self, deadline: Instant, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut pooled = PooledConnection { pool: self, connection: Some(self.take(deadline)?) };
        match pooled.connection.as_mut() {
            Some(connection) => work(connection),
            None => Err(Error::internal("a catalog connection was lent out twice")),
        }
    }

    /// Removes and returns the connections that are not in use.
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
                let seconds = LOCK_TIMEOUT.as_secs();
                return Err(Error::catalog(format!(
                    "was busy with other operations of this process for {seconds} s. Try again later."
                )));
            }
            idle = self.returned.wait_timeout(idle, left).ignore_poison().0;
        }
    }
}

/// Returns its connection to the pool when dropped, also after a panic in `work`.
struct PooledConnection<'p> {
    pool: &'p ConnectionPool,
    connection: Option<Connection>,
}

impl Drop for PooledConnection<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.idle.lock().ignore_poison().push(connection);
            self.pool.returned.notify_one();
        }
    }
}
