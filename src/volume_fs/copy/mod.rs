//! Copying files and whole trees: within a volume, into it from the host, and out of it to the host.
//!
//! Both sides are held by descriptor. An entry is named by one component in its directory, looked at before it is
//! opened and never followed, so that whoever swaps what on either side gets nothing read or written elsewhere. One
//! thread walks; what is no directory is copied by several. Depth costs neither stack nor descriptors.

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
mod settle;
mod temp_tree;
mod undo;
mod walk;
mod worker_pool;

pub use endpoint::Endpoint;
pub use job::{CopyJob, FilterRequest};
pub use place::{CopyDest, CopyDestPlace, CopySource};
pub use policy::{CopyPolicy, IntoVolume, OwnerPolicy, SymlinkPolicy};
pub use progress::{CopyStats, Progress};
