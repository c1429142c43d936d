//! Copies files and whole trees: within a volume, into it from the host, and out of it to the host.
//!
//! Both sides are held by descriptor. An entry is named by one component in its directory, checked with `O_PATH` before
//! it is opened, and never followed. A guest that replaces an entry on either side therefore causes no access
//! elsewhere. One thread walks, and several copy the other entries. Depth costs neither stack nor descriptors.

mod attributes;
mod dir_pair;
mod directory;
mod endpoint;
mod entry;
mod file;
mod job;
mod link;
mod place;
mod policy;
mod progress;
mod temp_file;
mod undo;
mod walk;
mod worker_pool;

pub use endpoint::Endpoint;
pub use job::{CopyJob, FilterRequest};
pub use place::{CopyDest, CopyDestPlace, CopySource};
pub use policy::{CopyPolicy, DestVolume, OwnerPolicy, SymlinkPolicy};
pub use progress::{CopyStats, Progress};
