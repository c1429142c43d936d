//! Several processes on one home.

mod blocked;
mod faulty;
mod race;
mod record_locks;
mod rounds;
mod umask;
