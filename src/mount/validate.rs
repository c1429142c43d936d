//! Validates the guest paths of several mounts, and orders the mounts.

use super::config::MountConfig;
use super::guest_path::GuestPath;
use crate::error::{Error, Result};

/// Parses all guest paths and sorts parents before children. Fails if two paths are equal.
pub fn validate_and_order(entries: Vec<(String, MountConfig)>) -> Result<Vec<(GuestPath, MountConfig)>> {
    let mut parsed = Vec::with_capacity(entries.len());
    for (given, config) in entries {
        parsed.push((GuestPath::parse(&given)?, given, config));
    }
    parsed.sort_by(|(left, ..), (right, ..)| left.cmp(right));
    for pair in parsed.windows(2) {
        if let [(first, first_given, _), (second, second_given, _)] = pair
            && first == second
        {
            return Err(Error::invalid_guest_path(
                second_given,
                format!("is the same guest path as {first_given:?}; mount one thing at a path"),
            ));
        }
    }
    Ok(parsed.into_iter().map(|(guest_path, _, config)| (guest_path, config)).collect())
}
