//! The sandboxes that microsandbox runs, and what they have mounted.

use super::schema::columns_of;
use super::{MsbCatalog, unknown};
use crate::error::Result;
use serde_json::Value;
use std::path::PathBuf;

/// A sandbox that runs or may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSandbox {
    /// Name of the sandbox.
    pub name: String,
    /// Mounts of the sandbox; `None` if its configuration cannot be read.
    pub sources: Option<Vec<MountedSource>>,
}

/// The source of a sandbox's mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountedSource {
    /// A volume, by name.
    Volume(String),
    /// A path on the host.
    Host(PathBuf),
}

impl MsbCatalog {
    /// Returns the sandboxes that run or may run.
    pub fn active_sandboxes(&self) -> Result<Vec<ActiveSandbox>> {
        let found = self.read(|catalog, _| {
            let columns = columns_of(catalog, "sandbox")?;
            if columns.is_empty() {
                return Ok(Some(Vec::new()));
            }
            let has = |name: &str| columns.iter().any(|column| column.name == name);
            if !["name", "config", "status"].into_iter().all(has) {
                return Ok(None);
            }
            let active = if has("active_config") { "active_config" } else { "NULL" };
            let sql = format!(
                "SELECT name, config, {active} FROM sandbox
                 WHERE status IN ('Starting', 'Running', 'Draining', 'Paused') ORDER BY name"
            );
            let mut statement = catalog.prepare(&sql)?;
            let rows = statement.query_map((), |row| {
                let configurations = [row.get_ref(1)?, row.get_ref(2)?];
                let sources = configurations.into_iter().map(|configuration| match configuration {
                    rusqlite::types::ValueRef::Null => Some(Vec::new()),
                    text => text.as_bytes().ok().and_then(mounted_sources),
                });
                let sources = sources.collect::<Option<Vec<_>>>();
                Ok(ActiveSandbox { name: row.get(0)?, sources: sources.map(|all| all.concat()) })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>().map(Some)
        })?;
        found.ok_or_else(|| unknown(&self.path, "lacks columns of the table \"sandbox\"", None))
    }
}

/// Returns the mounts of a sandbox's configuration. Returns `None` if the configuration is not understood.
fn mounted_sources(configuration: &[u8]) -> Option<Vec<MountedSource>> {
    let configuration: Value = serde_json::from_slice(configuration).ok()?;
    let configuration = configuration.as_object()?;
    let mounts = match configuration.get("mounts") {
        None | Some(Value::Null) => &Vec::new(),
        Some(mounts) => mounts.as_array()?,
    };
    let host = |path: &str| MountedSource::Host(PathBuf::from(path));
    let mut sources = Vec::new();
    for mount in mounts {
        let text = |field| mount.get(field).and_then(Value::as_str);
        match text("type")? {
            "Named" => sources.push(MountedSource::Volume(text("name")?.to_owned())),
            "Tmpfs" => {}
            _ => sources.push(host(text("host")?)),
        }
    }
    // A root file system may be a directory or an image of the host.
    let image = configuration.get("image").and_then(Value::as_object);
    let roots = image.into_iter().flat_map(|image| image.values()).filter_map(|root| root.get("path"));
    sources.extend(roots.filter_map(Value::as_str).map(host));
    Some(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_lists_its_mounts() {
        let sources = mounted_sources(
            br#"{"image":{"Bind":{"path":"/root"}},"mounts":[{"type":"Named","name":"v"},
                {"type":"Tmpfs","guest":"/t"},{"type":"Bind","host":"/h"},{"type":"DiskImage","host":"/d"}]}"#,
        );
        let host = |path: &str| MountedSource::Host(PathBuf::from(path));
        let expected = [MountedSource::Volume("v".to_owned()), host("/h"), host("/d"), host("/root")];
        assert_eq!(sources.unwrap(), expected);
        assert_eq!(mounted_sources(b"{}").unwrap(), []);
    }

    #[test]
    fn a_configuration_that_is_not_understood_has_no_mounts() {
        for text in [
            "",
            "[]",
            "null",
            "{",
            r#"{"mounts":{}}"#,
            r#"{"mounts":[1]}"#,
            r#"{"mounts":[{}]}"#,
            r#"{"mounts":[{"type":"Named"}]}"#,
            r#"{"mounts":[{"type":"Named","name":1}]}"#,
            r#"{"mounts":[{"type":"Bind"}]}"#,
            r#"{"mounts":[{"type":"New","path":"/x"}]}"#,
        ] {
            assert_eq!(mounted_sources(text.as_bytes()), None, "{text}");
        }
        assert_eq!(mounted_sources(b"\xff"), None);
    }
}
