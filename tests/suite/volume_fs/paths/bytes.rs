//! Names that are not UTF-8.

use super::faulty::{FaultyBackend, takes_names_for_text};
use crate::support::listing::listed;
use crate::support::methods::Backend;
use crate::support::read_only::in_read_only_namespace;
use crate::support::volume::Volume;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::WriteOptions;
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// What a guest made under such a name is read, replaced and removed by it.
fn check(volume: &Volume, backend: &dyn Backend) -> Result<(), String> {
    let odd = OsStr::from_bytes(b"odd\xff");
    let path = volume.files.root().join(odd);
    fs::write(&path, "guest").unwrap();
    let called = |method: &str| backend.call(method, odd).map_err(|refusal| refusal.code);
    let read = called("read");
    for method in ["writeAtomic", "append", "statLink"] {
        called(method)?;
    }
    let content = fs::read_to_string(&path).unwrap();
    called("remove")?;
    match (read, content.as_str(), path.exists()) {
        (Ok(read), "newnew", false) if read == json!("guest") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn case_8_what_a_guest_gave_a_name_that_is_not_utf_8_is_read_replaced_and_removed() {
    let volume = Volume::new(json!({}));
    check(&volume, &volume).unwrap();
}

#[test]
fn case_8_faulty_methods_that_take_names_for_text_do_not_find_them() {
    in_read_only_namespace(|| {
        let volume = Volume::new(json!({}));
        check(&volume, &FaultyBackend::new(&volume, takes_names_for_text)).unwrap_err();
    });
}

#[test]
fn case_8_a_name_that_is_not_utf_8_is_addressed_by_its_bytes() {
    let volume = Volume::new(json!({}));
    let (files, cancel) = (&volume.files, CancelToken::default());
    let odd = |name: &str| {
        OsStr::from_bytes(&[b"odd\xff/".as_slice(), name.as_bytes(), b"\x80"].concat()).to_owned()
    };
    files.mkdir(odd("dir"), &cancel).unwrap();
    for atomic in [false, true] {
        let options = WriteOptions { atomic, ..WriteOptions::default() };
        files.write(odd("file"), b"content", options, &cancel).unwrap();
        assert_eq!(files.open(odd("file")).unwrap().read(&cancel).unwrap(), b"content");
    }
    assert!(files.exists(odd("file")).unwrap() && !files.exists(odd("other")).unwrap());
    let error = files.open(odd("missing")).unwrap_err();
    assert_eq!(error.context().path.as_deref(), Some("odd\u{fffd}/missing\u{fffd}"));
    let entries = listed(files, "", true).unwrap();
    let expected = [OsStr::from_bytes(b"odd\xff").to_owned(), odd("dir"), odd("file")];
    assert_eq!(entries.iter().map(|(path, _)| path.as_os_str().to_owned()).collect::<Vec<_>>(), expected);
    assert_eq!(files.stat(odd("file"), true).unwrap().size, 7);
    files.rename(odd("file"), odd("renamed"), &cancel).unwrap();
    files.remove(odd("renamed"), &cancel).unwrap();
    files.remove_all(OsStr::from_bytes(b"odd\xff"), &cancel).unwrap();
    assert_eq!(fs::read_dir(files.root()).unwrap().count(), 0);
}
