//! The options of `toKubernetes`.

use crate::error::{Error, Result};
use crate::model::{OptionReader, OptionValue};

const CLAIMS: &str = "claims";
const NAMESPACE: &str = "namespace";
const NODE: &str = "node";
const STORAGE_CLASS: &str = "storageClass";
const STORAGE_MIB: &str = "storageMib";

const DEFAULT_NAMESPACE: &str = "default";

/// The longest namespace or label value, and the longest name of another object, in bytes.
const MAX_LABEL_BYTES: usize = 63;
const MAX_NAME_BYTES: usize = 253;

/// How a pod refers to named volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// By claims. `None` means by their paths on the node.
    pub(super) claims: Option<Claims>,
}

/// The fields of the claims of named volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) namespace: String,
    /// The node that has the volumes' directories. `None` means any node.
    pub(super) node: Option<String>,
    /// The storage class. `None` means the volumes' own directories.
    pub(super) storage_class: Option<String>,
    /// The size of a volume without a quota.
    pub(super) storage_mib: Option<u32>,
}

impl KubernetesOptions {
    /// Reads `toKubernetes`'s options.
    pub fn from_input(input: &OptionValue) -> Result<Self> {
        let known = [CLAIMS, NAMESPACE, NODE, STORAGE_CLASS, STORAGE_MIB];
        let fields = OptionReader::of("KubernetesOptions", input, &known)?;
        let claims = Claims {
            namespace: name(&fields, NAMESPACE, MAX_LABEL_BYTES, "-")?
                .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            node: name(&fields, NODE, MAX_LABEL_BYTES, "-_.")?,
            storage_class: name(&fields, STORAGE_CLASS, MAX_NAME_BYTES, "-.")?,
            storage_mib: fields.u32(STORAGE_MIB)?,
        };
        if claims.storage_mib == Some(0) {
            return Err(Error::invalid_config(STORAGE_MIB, "a claim has at least 1 MiB"));
        }
        if claims.node.is_some() && claims.storage_class.is_some() {
            let problem =
                "does not go with \"storageClass\", whose storage is the cluster's; leave one of them unset";
            return Err(Error::invalid_config(NODE, problem));
        }
        if fields.flag(CLAIMS)? == Some(true) {
            return Ok(KubernetesOptions { claims: Some(claims) });
        }
        let given = [
            (NAMESPACE, fields.text(NAMESPACE)?.is_some()),
            (NODE, claims.node.is_some()),
            (STORAGE_CLASS, claims.storage_class.is_some()),
            (STORAGE_MIB, claims.storage_mib.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::invalid_config(name, "only used when \"claims\" is true")),
            None => Ok(KubernetesOptions::default()),
        }
    }
}

impl Claims {
    /// Returns the error for a claim without a size.
    pub(super) fn size_missing(volume: &str) -> Error {
        let problem = format!("volume {volume:?} has no quota; say how much its claim asks for");
        Error::invalid_config(STORAGE_MIB, problem)
    }
}

/// Reads a Kubernetes name. It has lower-case letters and digits, and the characters of `inner` except at its begin and
/// end. If `inner` has "_", capitals are allowed too, as in label values.
fn name(fields: &OptionReader, field: &str, max_bytes: usize, inner: &str) -> Result<Option<String>> {
    let Some(given) = fields.text(field)? else { return Ok(None) };
    let outer = |c: char| {
        c.is_ascii_digit() || c.is_ascii_lowercase() || (inner.contains('_') && c.is_ascii_uppercase())
    };
    let fits = !given.is_empty()
        && given.len() <= max_bytes
        && given.chars().all(|c| outer(c) || inner.contains(c))
        && given.starts_with(outer)
        && given.ends_with(outer);
    if !fits {
        let shown: String = given.chars().take(max_bytes + 1).collect();
        return Err(Error::invalid_config(
            field,
            format!("{shown:?} is no name that Kubernetes takes there"),
        ));
    }
    Ok(Some(given.to_owned()))
}
