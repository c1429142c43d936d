//! Who a process is: its number alone is given to others later, so start time and boot belong to it.

/// A process that can be told from a later one of the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// The process number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// The boot it belongs to.
    pub boot_id: String,
    /// The process number's name space: another one's numbers say nothing here.
    pub pid_namespace: u64,
}
