//! The identity of a process. PIDs are reused, so it includes start time and boot.

/// Identifies a process, also among later ones with the same PID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// The PID.
    pub pid: u32,
    /// The start time, in clock ticks since boot.
    pub start_time: u64,
    /// The ID of the boot in which the process was started.
    pub boot_id: String,
    /// The PID namespace. PIDs of another namespace have another meaning.
    pub pid_namespace: u64,
}
