//! Depth-first traversal of trees that a guest changes, with few descriptors.

pub mod cursor;
pub mod visited;
