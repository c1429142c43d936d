//! Problems that a check of a home reports.

use crate::model::name_of;
use crate::store::{HomeProblem, ProblemKind};
use serde::Serialize;
use std::borrow::Cow;

/// A problem of a home.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HomeProblemJson<'p> {
    /// The kind, such as `"missing-directory"`.
    pub kind: &'static str,
    /// The affected volume.
    pub volume: Option<&'p str>,
    /// The affected file or directory.
    pub path: Cow<'p, str>,
    /// The description.
    pub message: &'p str,
    /// True if the check repaired it.
    pub repaired: bool,
}

impl<'p> From<&'p HomeProblem> for HomeProblemJson<'p> {
    fn from(problem: &'p HomeProblem) -> Self {
        HomeProblemJson {
            kind: name_of(&ProblemKind::NAMES, problem.kind),
            volume: problem.volume.as_deref(),
            path: problem.path.to_string_lossy(),
            message: &problem.message,
            repaired: problem.repaired,
        }
    }
}
