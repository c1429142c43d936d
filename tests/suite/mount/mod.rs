//! Mounts: building them, guest paths, their order, and the renderers.
//!
//! `cases/mount.json` is shared with the JS suite. Every entry is a case of its own; `case` is its number in
//! `docs/cases.md`, where it has one. In strings, `${cwd}` stands for the working directory, `${host}` for an existing
//! directory, `${volumes}` for the directory of the volumes; `{ "$number": "NaN" }` is the number that JSON lacks.
//!
//! - `builds`: `call` is a factory of `Mount` and its arguments; `plain` stands for handing its one argument to
//!   `attach` as a mount. `gives` has the fields of the built mount that are not null or false (every other
//!   field is); `rejects` the field of the `InvalidConfigError` and a part of its message.
//! - `guestPaths`: `gives` is the normalized path; `says` a part of the `InvalidConfigError`, which also quotes
//!   the path and has it as its path.
//! - `plans`: mounts at `paths`; `gives` is their order, `rejects` the path of the error and a part of its message.
//! - `renders`: `mounts` are pairs of guest path and `call`; every other key names a runtime and has what the
//!   renderer gives, or the path and a part of the message of the `UnsupportedMountError` that it `rejects` with.
//!   `qemu` is rendered with the sockets in `/run/vm`, `docker` and `podman` are the two engines of `toDocker`, and
//!   `sandboxBuilder` has the methods that are called for each mount, with their arguments.

mod build;
mod docker_engines;
mod guest_path;
mod kubernetes;
mod microsandbox;
mod qemu;
mod resolved;
mod subpath;

use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::runtime::docker::{self, Engine};
use sandbox_volumes::mount::runtime::kubernetes_options::KubernetesOptions;
use sandbox_volumes::mount::runtime::microsandbox as microsandbox_runtime;
use sandbox_volumes::mount::runtime::microsandbox::MicrosandboxOptions;
use sandbox_volumes::mount::runtime::rendered::Rendered;
use sandbox_volumes::mount::runtime::{
    bubblewrap, kubernetes as kubernetes_runtime, microsandbox_sdk, oci, qemu as qemu_runtime,
};
use sandbox_volumes::mount::{
    GuestPath, MountConfig, MountFlags, MountSource, ResolvedMount, ResolvedSource, validate_and_order,
};
use sandbox_volumes::wire::MountConfigJson;
use serde_json::{Value, json};
use std::path::Path;

const CWD: &str = "/work dir";

/// The cases of one table that carry this number, or none.
fn cases(table: &str, number: Option<u64>) -> Vec<Value> {
    let text = include_str!("../../cases/mount.json")
        .replace("${cwd}", CWD)
        .replace("${host}", "/srv/data")
        .replace("${volumes}", "/vols");
    let tables: Value = serde_json::from_str(&text).unwrap();
    let all = tables[table].as_array().unwrap().iter();
    let found: Vec<Value> = all.filter(|case| case["case"].as_u64() == number).cloned().collect();
    assert!(!found.is_empty(), "{table} has no case {number:?}");
    found
}

fn input(value: &Value) -> OptionValue {
    match value {
        Value::Object(entries) if entries.contains_key("$number") => OptionValue::Number(f64::NAN),
        Value::Object(entries) => {
            OptionValue::Object(entries.iter().map(|(key, value)| (key.clone(), input(value))).collect())
        }
        other => other.clone().into(),
    }
}

/// A built mount as the plain object that JavaScript gets.
fn plain(config: &MountConfig) -> Value {
    serde_json::to_value(MountConfigJson::from(config)).unwrap()
}

/// The names of an object's fields, in their order. No value of it has a comma.
fn field_names(json: &str) -> Vec<&str> {
    let fields = json.strip_prefix('{').unwrap().strip_suffix('}').unwrap().split(',');
    fields.map(|field| field.split(':').next().unwrap().trim_matches('"')).collect()
}

fn call(call: &Value) -> Result<MountConfig, Error> {
    let argument = |index: usize| input(&call[index]);
    match call[0].as_str().unwrap() {
        "bind" => MountConfig::bind(&argument(1), &argument(2), Path::new(CWD)),
        "named" => MountConfig::named(&argument(1), &argument(2)),
        "namedWith" => MountConfig::named_with(&argument(1), &argument(2), &argument(3)),
        "tmpfs" => MountConfig::tmpfs(&argument(1)),
        "disk" => MountConfig::disk(&argument(1), &argument(2), Path::new(CWD)),
        "plain" => MountConfig::from_input(&argument(1)),
        other => panic!("no such factory: {other}"),
    }
}

fn assert_invalid(error: &Error, field: &str, says: &str) {
    assert_eq!((error.kind(), error.context().field.as_deref()), (ErrorKind::InvalidConfig, Some(field)));
    assert!(error.to_string().contains(says), "{error}\nshould say: {says}");
}

fn check_builds(number: Option<u64>) {
    for case in cases("builds", number) {
        println!("{}", case["name"]);
        let built = call(&case["call"]);
        if let Some(expected) = case.get("rejects") {
            assert_invalid(
                &built.unwrap_err(),
                expected["field"].as_str().unwrap(),
                expected["says"].as_str().unwrap(),
            );
            continue;
        }
        let Value::Object(mut fields) = plain(&built.unwrap()) else { panic!() };
        let tmpfs = fields["tmpfs"].clone();
        fields.retain(|_, value| !matches!(value, Value::Null | Value::Bool(false)));
        assert_eq!(Value::Object(fields), case["gives"]);
        assert!(tmpfs.is_boolean());
    }
}

fn check_guest_paths(number: Option<u64>) {
    for case in cases("guestPaths", number) {
        let path = case["path"].as_str().unwrap();
        let parsed = GuestPath::parse(path);
        match case["gives"].as_str() {
            Some(expected) => assert_eq!(parsed.unwrap().to_string(), expected),
            None => {
                let error = parsed.unwrap_err();
                assert_invalid(&error, "guestPath", case["says"].as_str().unwrap());
                assert!(error.to_string().contains(&format!("{path:?}")), "{error}");
                assert_eq!(error.context().path.as_deref(), Some(path));
            }
        }
    }
}

fn check_plans(number: Option<u64>) {
    for case in cases("plans", number) {
        println!("{}", case["name"]);
        let paths = case["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap());
        let tmpfs = MountConfig::tmpfs(&OptionValue::Absent).unwrap();
        let planned = validate_and_order(paths.map(|path| (path.to_owned(), tmpfs.clone())).collect());
        if let Some(expected) = case.get("rejects") {
            let error = planned.unwrap_err();
            assert_invalid(&error, "guestPath", expected["says"].as_str().unwrap());
            assert_eq!(error.context().path.as_deref(), expected["path"].as_str());
            continue;
        }
        let order: Vec<String> = planned.unwrap().into_iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(json!(order), case["gives"]);
    }
}

/// What the store makes of a mount, without looking at the disk.
fn resolve(guest_path: GuestPath, config: &MountConfig) -> ResolvedMount {
    let origin = match config.source().clone() {
        MountSource::Bind { host } => ResolvedSource::Bind { host, file: false },
        MountSource::Named { volume, .. } => {
            let name = volume.name;
            let host = Path::new("/vols").join(name.as_str());
            ResolvedSource::Named { open: host.clone(), host, volume: name, part: None, quota_mib: None }
        }
        MountSource::Tmpfs { size_mib } => ResolvedSource::Tmpfs { size_mib },
        MountSource::Disk { .. } => panic!("disks are not resolved here"),
    };
    ResolvedMount {
        guest_path,
        origin,
        flags: config.flags(),
        stat_virtualization: config.stat_virtualization(),
        host_permissions: config.host_permissions(),
    }
}

/// A mount at `/data` without options.
fn mount(origin: ResolvedSource) -> ResolvedMount {
    ResolvedMount {
        guest_path: GuestPath::parse("/data").unwrap(),
        origin,
        flags: MountFlags::default(),
        stat_virtualization: None,
        host_permissions: None,
    }
}

/// What a rendering is as JSON.
fn values(rendered: Vec<Rendered<'_>>) -> Vec<Value> {
    rendered.into_iter().map(Value::from).collect()
}

fn check_renders(runtime: &str, render: impl Fn(&[ResolvedMount]) -> Result<Value, Error>) {
    for case in cases("renders", None) {
        println!("{}", case["name"]);
        let mounts = case["mounts"].as_array().unwrap().iter();
        let entries = mounts.map(|pair| (pair[0].as_str().unwrap().to_owned(), call(&pair[1]).unwrap()));
        let planned = validate_and_order(entries.collect()).unwrap();
        let mounts: Vec<ResolvedMount> =
            planned.into_iter().map(|(path, config)| resolve(path, &config)).collect();
        match case[runtime].get("rejects") {
            Some(expected) => {
                let error = render(&mounts).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
                assert_eq!(error.context().path.as_deref(), expected["path"].as_str());
                assert!(error.to_string().contains(expected["says"].as_str().unwrap()), "{error}");
            }
            None => assert_eq!(render(&mounts).unwrap(), case[runtime]),
        }
    }
}

#[test]
fn mounts_are_built_or_rejected_as_the_shared_cases_say() {
    check_builds(None);
}

#[test]
fn case_42_rejects_a_tmpfs_whose_size_is_no_positive_integer() {
    check_builds(Some(42));
}

#[test]
fn guest_paths_are_normalized_or_rejected_as_the_shared_cases_say() {
    check_guest_paths(None);
}

#[test]
fn case_39_rejects_guest_paths_that_are_relative_or_lead_elsewhere() {
    check_guest_paths(Some(39));
}

#[test]
fn case_40_rejects_the_guest_systems_own_paths() {
    check_guest_paths(Some(40));
}

#[test]
fn mounts_are_ordered_as_the_shared_cases_say() {
    check_plans(None);
}

#[test]
fn case_39_rejects_one_guest_path_in_two_spellings() {
    check_plans(Some(39));
}

#[test]
fn bubblewrap_is_told_what_the_shared_cases_say() {
    check_renders("bubblewrap", |mounts| {
        bubblewrap::render(mounts, &bubblewrap::BubblewrapOptions::default()).map(|argv| json!(argv))
    });
}

#[test]
fn an_oci_runtime_is_told_what_the_shared_cases_say() {
    check_renders("oci", |mounts| {
        oci::render(mounts, &oci::OciOptions::default()).map(|entries| values(entries).into())
    });
}

#[test]
fn qemu_is_told_what_the_shared_cases_say() {
    let options = qemu_runtime::QemuOptions::from_input(&input(&json!({ "socketDir": "/run/vm" }))).unwrap();
    check_renders("qemu", |mounts| qemu_runtime::render(mounts, &options).map(Value::from));
}

#[test]
fn docker_and_podman_are_told_what_the_shared_cases_say() {
    for (name, engine) in [("docker", Engine::Docker), ("podman", Engine::Podman)] {
        check_renders(name, |mounts| docker::render(mounts, engine.into()).map(|argv| json!(argv)));
    }
}

#[test]
fn microsandbox_is_told_what_the_shared_cases_say() {
    let options = MicrosandboxOptions::default();
    check_renders("microsandbox", |mounts| {
        microsandbox_runtime::render(mounts, &options, &microsandbox::look_up).map(|argv| json!(argv))
    });
    check_renders("sandboxBuilder", |mounts| {
        microsandbox_sdk::render(mounts, &options, &microsandbox::look_up)
            .map(|entries| values(entries).into())
    });
}

#[test]
fn kubernetes_is_told_what_the_shared_cases_say() {
    let options = KubernetesOptions::default();
    check_renders("kubernetes", |mounts| kubernetes_runtime::render(mounts, &options).map(Value::from));
}
