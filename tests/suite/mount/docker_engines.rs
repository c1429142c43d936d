//! Arguments for Docker and Podman, beyond the shared cases: disks, quoted paths, options.

use super::{assert_invalid, input, mount};
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::{DiskFormat, OptionValue};
use sandbox_volumes::mount::runtime::docker::{DockerOptions, Engine, render};
use sandbox_volumes::mount::{MountFlags, ResolvedMount, ResolvedSource};
use serde_json::json;
use std::path::PathBuf;

const ENGINES: [Engine; 2] = [Engine::Docker, Engine::Podman];

fn bind(host: &str) -> ResolvedMount {
    mount(ResolvedSource::Bind { host: PathBuf::from(host), file: false })
}

#[test]
fn a_host_path_is_quoted_as_a_field_of_comma_separated_values() {
    for engine in ENGINES {
        for (host, quoted) in [
            ("/srv/a,b", "\"source=/srv/a,b\""),
            ("/srv/say \"hi\"", "\"source=/srv/say \"\"hi\"\"\""),
            ("/srv/a=b:c d;é'\\", "source=/srv/a=b:c d;é'\\"),
        ] {
            let argv = render(&[bind(host)], engine.into()).unwrap();
            assert_eq!(argv.len(), 2);
            let expected = format!("type=bind,{quoted},destination=/data,bind-propagation=rprivate,");
            assert!(argv[1].starts_with(&expected), "{}", argv[1]);
        }
    }
}

#[test]
fn a_line_break_in_a_host_path_is_refused() {
    for engine in ENGINES {
        let error = render(&[bind("/srv/a\r\nb")], engine.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
        assert!(error.to_string().contains("\"/srv/a\\r\\nb\" contains a control character"), "{error}");
    }
}

#[test]
fn each_flag_of_a_bind_mount_is_told_podman_and_refused_for_docker() {
    let flag = |name: &str| MountFlags {
        noexec: name == "noexec",
        nosuid: name == "nosuid",
        nodev: name == "nodev",
        readonly: false,
    };
    for name in ["noexec", "nosuid", "nodev"] {
        let mount = ResolvedMount { flags: flag(name), ..bind("/srv") };
        let error = render(std::slice::from_ref(&mount), Engine::Docker.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
        assert!(error.to_string().contains(&format!("has no \"{name}\"")), "{error}");
        assert!(render(&[mount], Engine::Podman.into()).unwrap()[1].ends_with(&format!(",{name}")));
        // A tmpfs has them all, in both.
        let tmpfs = ResolvedSource::Tmpfs { size_mib: None };
        let mount = ResolvedMount { flags: flag(name), origin: tmpfs, ..bind("/srv") };
        for engine in ENGINES {
            let argv = render(std::slice::from_ref(&mount), engine.into()).unwrap();
            assert!(argv[1].split([':', ',']).any(|word| word == name), "{}", argv[1]);
        }
    }
}

#[test]
fn a_disk_is_refused() {
    let origin = ResolvedSource::Disk {
        volume: None,
        host: PathBuf::from("/x.raw"),
        open: PathBuf::from("/x.raw"),
        format: DiskFormat::Raw,
        fstype: None,
    };
    for engine in ENGINES {
        let error =
            render(&[ResolvedMount { origin: origin.clone(), ..bind("/srv") }], engine.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
        assert!(error.to_string().contains("needs a virtual machine"), "{error}");
    }
}

#[test]
fn the_engine_is_docker_unless_it_is_podman() {
    assert_eq!(DockerOptions::from_input(&OptionValue::Absent).unwrap().engine, Engine::Docker);
    let podman = DockerOptions::from_input(&input(&json!({ "engine": "podman" }))).unwrap();
    assert_eq!(podman.engine, Engine::Podman);
    for (options, field, says) in [
        (json!({ "engine": "nerdctl" }), "engine", "expected one of \"docker\", \"podman\", got \"nerdctl\""),
        (json!({ "engine": 1 }), "engine", "got a number"),
        (json!({ "rootless": true }), "rootless", "DockerOptions has no such option"),
    ] {
        assert_invalid(&DockerOptions::from_input(&input(&options)).unwrap_err(), field, says);
    }
}
