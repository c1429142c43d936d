//! Arguments for QEMU, beyond the shared cases: disks, options, files.

use super::{assert_invalid, input};
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{DiskFormat, VolumeName};
use sandbox_volumes::mount::runtime::qemu::{self, QemuOptions};
use sandbox_volumes::mount::{GuestPath, MountFlags, ResolvedMount, ResolvedSource};
use serde_json::{Value, json};
use std::path::PathBuf;

fn options(options: Value) -> Result<QemuOptions, Error> {
    QemuOptions::from_input(&input(&options))
}

fn render(mounts: &[ResolvedMount], options: &QemuOptions) -> Result<Value, Error> {
    qemu::render(mounts, options).map(Value::from)
}

fn mount(guest_path: &str, origin: ResolvedSource, flags: MountFlags) -> ResolvedMount {
    let guest_path = GuestPath::parse(guest_path).unwrap();
    ResolvedMount { guest_path, origin, flags, stat_virtualization: None, host_permissions: None }
}

fn disk(open: &str, format: DiskFormat, fstype: Option<&str>, readonly: bool) -> ResolvedMount {
    let origin = ResolvedSource::Disk {
        volume: Some(VolumeName::parse("my-disk").unwrap()),
        host: PathBuf::from("/shown/elsewhere"),
        open: PathBuf::from(open),
        format,
        fstype: fstype.map(str::to_owned),
    };
    mount("/data", origin, MountFlags { readonly, ..MountFlags::default() })
}

fn directory() -> ResolvedMount {
    let origin = ResolvedSource::Bind { host: PathBuf::from("/srv"), file: false };
    mount("/srv", origin, MountFlags::default())
}

/// The arguments, with the one of `-blockdev` parsed.
fn rendered_disk(mount: ResolvedMount) -> (Value, Value, Value) {
    let rendered = render(&[mount], &options(Value::Null).unwrap()).unwrap();
    let args = rendered["args"].as_array().unwrap();
    assert_eq!((args.len(), &args[0], &args[2]), (4, &json!("-blockdev"), &json!("-device")));
    assert_eq!(rendered["virtiofs"], json!([]));
    let blockdev = serde_json::from_str(args[1].as_str().unwrap()).unwrap();
    (blockdev, args[3].clone(), rendered["guest"][0].clone())
}

#[test]
fn a_disk_leaves_nothing_to_what_qemu_would_guess() {
    let (blockdev, device, guest) = rendered_disk(disk("/proc/7/fd/9", DiskFormat::Raw, Some("ext4"), false));
    let expected = json!({
        "driver": "raw", "node-name": "sv-mount-0", "read-only": false, "auto-read-only": false,
        "discard": "unmap", "cache": { "direct": false, "no-flush": false },
        "file": {
            "driver": "file", "node-name": "sv-mount-0-file", "filename": "/proc/7/fd/9", "locking": "on",
            "aio": "threads", "read-only": false, "auto-read-only": false, "discard": "unmap",
            "cache": { "direct": false, "no-flush": false },
        },
    });
    assert_eq!(blockdev, expected);
    assert_eq!(device, "virtio-blk-pci,drive=sv-mount-0,serial=sv-mount-0,werror=report");
    let command = "mkdir -p '/data' && mount -t ext4 -o rw \
                   \"/dev/$(cd /sys/block && grep -lxF sv-mount-0 */serial | cut -d/ -f1)\" '/data'";
    let expected = json!({
        "guestPath": "/data", "type": "ext4", "tag": null, "serial": "sv-mount-0", "options": ["rw"],
        "command": command,
    });
    assert_eq!(guest, expected);
}

#[test]
fn a_backing_file_that_a_header_names_is_not_opened() {
    for (format, driver) in [(DiskFormat::Qcow2, "qcow2"), (DiskFormat::Vmdk, "vmdk")] {
        let (blockdev, ..) = rendered_disk(disk("/image", format, None, false));
        assert_eq!(blockdev["driver"], driver);
        assert_eq!(blockdev.as_object().unwrap().get("backing"), Some(&Value::Null));
        assert_eq!(blockdev["file"]["driver"], "file");
    }
    let (raw, ..) = rendered_disk(disk("/image", DiskFormat::Raw, None, false));
    assert!(raw.get("backing").is_none());
}

#[test]
fn a_read_only_disk_is_so_at_both_nodes_and_in_the_guest() {
    let (blockdev, _, guest) = rendered_disk(disk("/image", DiskFormat::Qcow2, Some("xfs"), true));
    assert_eq!([&blockdev["read-only"], &blockdev["file"]["read-only"]], [&json!(true), &json!(true)]);
    assert_eq!((&guest["options"], &guest["type"]), (&json!(["ro"]), &json!("xfs")));
    assert!(guest["command"].as_str().unwrap().contains(" mount -t xfs -o ro "), "{guest}");
}

#[test]
fn a_file_system_that_is_not_known_is_left_to_the_guest() {
    let (_, _, guest) = rendered_disk(disk("/image", DiskFormat::Raw, None, false));
    assert_eq!(guest["type"], "auto");
    assert!(guest["command"].as_str().unwrap().contains(" mount -t auto -o rw "), "{guest}");
}

#[test]
fn an_image_may_have_any_path() {
    for open in
        ["/a,b=c", "/with \"quotes\" and \\", "/{\"driver\":\"nbd\"}", "/nbd:host", "/new\nline", "/数据"]
    {
        let (blockdev, ..) = rendered_disk(disk(open, DiskFormat::Raw, None, false));
        assert_eq!(blockdev["file"]["filename"], open);
        assert_eq!(blockdev["file"]["driver"], "file");
    }
}

#[test]
fn serial_numbers_are_each_mounts_own_and_fit_the_device() {
    let disks: Vec<_> = (0..1000).map(|_| disk("/image", DiskFormat::Raw, None, true)).collect();
    let rendered = render(&disks, &options(Value::Null).unwrap()).unwrap();
    let guest = rendered["guest"].as_array().unwrap();
    let mut serials: Vec<_> = guest.iter().map(|mount| mount["serial"].as_str().unwrap()).collect();
    assert!(serials.iter().all(|serial| serial.len() <= 20));
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 1000);
    assert_eq!(render(&disks, &options(Value::Null).unwrap()).unwrap(), rendered);
}

#[test]
fn memory_is_shared_with_virtiofs_servers_only() {
    let args = |mounts: &[ResolvedMount], given: Value| {
        render(mounts, &options(given).unwrap()).unwrap()["args"].to_string()
    };
    assert_eq!(args(&[], json!({ "socketDir": "/run" })), "[]");
    assert_eq!(args(&[], json!({ "memoryMib": 64 })), r#"["-m","64M"]"#);
    let shared = args(&[directory()], json!({ "socketDir": "/run/", "memoryMib": 4_294_967_295u32 }));
    let memory =
        r#"["-m","4294967295M","-object","memory-backend-memfd,id=sv-memory,size=4294967295M,share=on","#;
    assert!(shared.starts_with(memory), "{shared}");
    assert_eq!(shared.matches("\"-machine\",\"memory-backend=sv-memory\"").count(), 1);
    assert!(shared.contains("path=/run/sv-mount-0.sock"), "{shared}");
}

#[test]
fn a_socket_has_a_directory_and_a_path_that_fits() {
    let longest = format!("/{}", "s".repeat(106 - "/sv-mount-0.sock".len()));
    let fits = render(&[directory()], &options(json!({ "socketDir": longest })).unwrap()).unwrap();
    assert_eq!(fits["virtiofs"][0]["socket"].as_str().unwrap().len(), 107);

    let longer = options(json!({ "socketDir": format!("{longest}s") })).unwrap();
    assert_invalid(
        &render(&[directory()], &longer).unwrap_err(),
        "socketDir",
        "has 108 bytes; a socket's path",
    );
    let none = render(&[directory()], &options(Value::Null).unwrap()).unwrap_err();
    assert_invalid(&none, "socketDir", "the directory at \"/srv\" is shared through a socket");
}

#[test]
fn a_comma_in_a_sockets_path_is_no_other_option() {
    let rendered = render(&[directory()], &options(json!({ "socketDir": "/a,server=on" })).unwrap()).unwrap();
    let chardev = "socket,id=sv-mount-0,path=/a,,server=on/sv-mount-0.sock";
    assert!(rendered["args"].as_array().unwrap().contains(&json!(chardev)), "{rendered}");
    assert_eq!(rendered["virtiofs"][0]["socket"], "/a,server=on/sv-mount-0.sock");
}

#[test]
fn options_are_rejected_by_name() {
    for (given, field, says) in [
        (json!({ "socketDir": "run" }), "socketDir", "\"run\" is not absolute"),
        (json!({ "socketDir": "" }), "socketDir", "\"\" is not absolute"),
        (json!({ "socketDir": "/a\0b" }), "socketDir", "contains a NUL character"),
        (json!({ "socketDir": 1 }), "socketDir", "expected a string"),
        (json!({ "memoryMib": 0 }), "memoryMib", "a machine has at least 1 MiB"),
        (json!({ "memoryMib": 1.5 }), "memoryMib", "expected a non-negative integer below 2^32"),
        (json!({ "memoryMib": "512" }), "memoryMib", "expected a non-negative integer"),
        (json!({ "prefix": "" }), "prefix", "cannot begin a device's name"),
        (json!({ "prefix": "1a" }), "prefix", "starting with a letter"),
        (json!({ "prefix": "a,b" }), "prefix", "\"a,b\" cannot begin"),
        (json!({ "prefix": "a".repeat(15) }), "prefix", "at most 14"),
        (json!({ "memory": 1 }), "memory", "QemuOptions has no such option"),
        (json!("/run"), "QemuOptions", "expected an object"),
    ] {
        assert_invalid(&options(given).unwrap_err(), field, says);
    }
    let unset = json!({ "socketDir": null, "memoryMib": null, "prefix": null });
    assert_eq!(options(unset).unwrap(), options(json!(null)).unwrap());
}

#[test]
fn a_single_file_is_rejected() {
    let file =
        mount("/file", ResolvedSource::Bind { host: PathBuf::from("/f"), file: true }, MountFlags::default());
    let error = render(&[directory(), file], &options(json!({ "socketDir": "/run" })).unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.context().path.as_deref()), (ErrorKind::UnsupportedMount, Some("/file")));
    assert!(error.to_string().contains("virtiofs shares directories, and this is a file"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_host_path_that_is_not_utf_8_is_rejected() {
    use std::os::unix::ffi::OsStringExt;
    let host = PathBuf::from(std::ffi::OsString::from_vec(b"/srv/caf\xe9".to_vec()));
    let mut image = disk("/image", DiskFormat::Raw, None, false);
    if let ResolvedSource::Disk { open, .. } = &mut image.origin {
        open.clone_from(&host);
    }
    let directory = ResolvedMount { origin: ResolvedSource::Bind { host, file: false }, ..directory() };
    for mount in [image, directory] {
        let error = render(&[mount], &options(json!({ "socketDir": "/run" })).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
        assert!(error.to_string().contains("\"/srv/caf\\xE9\" is not UTF-8"), "{error}");
    }
}

#[test]
fn a_prefix_keeps_the_names_of_two_attachments_apart() {
    let mounts = [disk("/d", DiskFormat::Raw, None, false), directory()];
    let one = render(&mounts, &options(json!({ "socketDir": "/run" })).unwrap()).unwrap().to_string();
    let longest = "b".repeat(14);
    let other = options(json!({ "socketDir": "/run", "prefix": longest })).unwrap();
    let other = render(&mounts, &other).unwrap();
    assert_eq!(other["virtiofs"][0]["tag"], format!("{longest}-1"));
    assert_eq!(other["guest"][0]["serial"], format!("{longest}-0"));
    assert_eq!(one.replace("sv-mount-", &format!("{longest}-")), other.to_string());
}
