//! Copying files and whole trees: within a volume, into it from the host, and out of it to the host.
//!
//! Both sides are held by descriptor. An entry is named by one component in its directory, looked at before it is
//! opened and never followed, so that whoever swaps what on either side gets nothing read or written elsewhere. One
//! thread walks; what is no directory is copied by several. Depth costs neither stack nor descriptors.

mod crew;
mod directory;
mod entry;
mod file;
mod job;
mod link;
mod place;
mod progress;
mod rules;
mod settle;
mod side;
mod temporary;
mod undo;
mod walk;
mod way;

pub use job::{CopyJob, Question};
pub use place::{Source, Target, TargetPlace};
pub use progress::{Progress, Tally};
pub use rules::{CopyRules, IntoVolume, Links, Owner};
pub use side::Side;
