use super::*;

fn text(create_type: &str, extents: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=3a4b5c6d\nparentCID=ffffffff\n\
         isNativeSnapshot=\"no\"\ncreateType=\"{create_type}\"\n\n# VmdkExtent description\n{extents}\n\n\
         #DDB\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"ide\"\n"
    )
}

fn separate(create_type: &str, extents: &str) -> Result<Vec<VmdkExtent>, ImageProblem> {
    Ok(Descriptor::parse(text(create_type, extents).as_bytes())?.separate_extents()?.to_vec())
}

fn embedded(create_type: &str, extents: &str, sectors: u64) -> Result<(), ImageProblem> {
    Descriptor::parse(text(create_type, extents).as_bytes())?.check_embedded(sectors)
}

#[track_caller]
fn rejected<T: std::fmt::Debug>(parsed: Result<T, ImageProblem>, because: &str) {
    let problem = parsed.unwrap_err();
    assert!(problem.contains(because), "{problem}");
}

#[test]
fn the_extents_of_every_supported_type_are_read() {
    let flat = separate("monolithicFlat", "RW 2048 FLAT \"my disk-flat.vmdk\" 0").unwrap();
    assert_eq!(flat[0].name, "my disk-flat.vmdk");
    assert_eq!((flat[0].sectors, flat[0].storage), (2048, Storage::Flat { first_sector: 0 }));
    let two = separate("twoGbMaxExtentFlat", "RW 8 FLAT \"a\" 0\r\nRW 9 FLAT \"b\" 7").unwrap();
    assert_eq!((two.len(), two[1].storage), (2, Storage::Flat { first_sector: 7 }));
    assert_eq!(separate("twoGbMaxExtentSparse", "RW 8 SPARSE \"a\"").unwrap()[0].storage, Storage::Sparse);
    assert_eq!(separate("vmfs", "RW 8 VMFS \"a-flat.vmdk\"").unwrap()[0].storage, flat[0].storage);
    embedded("monolithicSparse", "RW 8 SPARSE \"a.vmdk\"", 8).unwrap();
    embedded("streamOptimized", "RDONLY 8 SPARSE \"a.vmdk\"", 8).unwrap();
}

#[test]
fn rejects_an_extent_that_is_not_a_plain_name() {
    for name in [
        "/etc/shadow",
        "../secret",
        "a/b",
        "a\\b",
        "..",
        ".",
        "",
        " ",
        " a",
        "nbd:host:10809",
        "json:{}",
        "C:disk",
        "a\rb",
        "a\u{7f}",
        "\u{fffd}",
    ] {
        rejected(separate("monolithicFlat", &format!("RW 8 FLAT \"{name}\" 0")), "without a path");
        rejected(embedded("monolithicSparse", &format!("RW 8 SPARSE \"{name}\""), 8), "without a path");
    }
    rejected(separate("monolithicFlat", &format!("RW 8 FLAT \"{}\" 0", "n".repeat(256))), "without a path");
    let mut not_utf8 = text("monolithicFlat", "RW 8 FLAT \"a?\" 0").into_bytes();
    let at = not_utf8.iter().position(|byte| *byte == b'?').unwrap();
    not_utf8[at] = 0xff;
    rejected(Descriptor::parse(&not_utf8), "without a path");
}

#[test]
fn rejects_a_parent_however_it_is_said() {
    rejected(separate("monolithicFlat", "parentFileNameHint=\"base.vmdk\""), "parent");
    rejected(separate("monolithicFlat", "# PARENTfilenamehint=\"base.vmdk\""), "parent");
    let behind =
        format!("{}\0parentFileNameHint=\"/etc/passwd\"", text("monolithicFlat", "RW 8 FLAT \"a\" 0"));
    rejected(Descriptor::parse(behind.as_bytes()), "parent");
    let child = text("monolithicFlat", "RW 8 FLAT \"a\" 0").replace("ffffffff", "3a4b5c6e");
    rejected(Descriptor::parse(child.as_bytes()), "parent");
}

#[test]
fn rejects_raw_devices_snapshots_and_other_types() {
    for create_type in [
        "fullDevice",
        "partitionedDevice",
        "vmfsRaw",
        "vmfsRDM",
        "vmfsRawDeviceMap",
        "vmfsPassthroughRawDeviceMap",
        "vmfsSparse",
        "seSparse",
        "custom",
        "monolithicSparse",
        "streamOptimized",
        "",
    ] {
        rejected(separate(create_type, "RW 8 FLAT \"a\" 0"), "cannot be attached");
    }
    rejected(embedded("monolithicFlat", "RW 8 SPARSE \"a\"", 8), "cannot be attached");
    for kind in ["VMFSRDM", "VMFSRAW", "VMFSSPARSE", "SESPARSE"] {
        rejected(separate("vmfs", &format!("RW 8 {kind} \"a\"")), "cannot be attached");
    }
    rejected(separate("monolithicFlat", "RW 8 NONE"), "without a file");
}

#[test]
fn rejects_extents_that_do_not_fit_the_type_or_cannot_be_written() {
    rejected(separate("monolithicFlat", "RW 8 SPARSE \"a\""), "has not");
    rejected(separate("twoGbMaxExtentSparse", "RW 8 FLAT \"a\" 0"), "has not");
    rejected(separate("monolithicFlat", "RDONLY 8 FLAT \"a\" 0"), "may not be written");
    rejected(separate("monolithicFlat", "NOACCESS 8 FLAT \"a\" 0"), "may not be accessed");
    rejected(separate("monolithicFlat", ""), "no extents");
    rejected(embedded("monolithicSparse", "RW 8 SPARSE \"a\"", 9), "other extents");
    rejected(embedded("monolithicSparse", "RW 8 SPARSE \"a\"\nRW 8 SPARSE \"b\"", 8), "other extents");
    rejected(embedded("monolithicSparse", "", 8), "other extents");
}

#[test]
fn an_extent_of_zeros_or_of_nothing_is_no_part_of_the_disk() {
    let data = "RW 8 FLAT \"a\" 0";
    for none in
        ["RW 8 ZERO", "rw 8 ZERO", "RDONLY 8 ZERO", "NOACCESS 8 zero", "RW 8 ZERO \"b\"", "RW 0 FLAT \"b\" 0"]
    {
        for extents in [format!("{none}\n{data}"), format!("{data}\n{none}")] {
            assert_eq!(separate("monolithicFlat", &extents).unwrap().len(), 1, "{extents}");
        }
        rejected(separate("monolithicFlat", none), "no extents");
    }
    assert_eq!(
        separate("monolithicFlat", "RW 8 FLAT \"a\" 7 # and more").unwrap()[0].storage,
        Storage::Flat { first_sector: 7 }
    );
}

#[test]
fn a_descriptor_is_told_by_what_qemu_looks_for_or_by_the_usual_first_line() {
    for head in [
        "version=1\n",
        "version=3\r\n",
        "#\nversion=2\n",
        "# any comment\n  \n\r\nversion=1\n",
        "#Disk DescriptorFile\nversion=1\n",
        "# disk descriptorFILE",
        "\n # Disk DescriptorFile",
        "\u{feff}# Disk DescriptorFile",
    ] {
        assert!(is_descriptor(head.as_bytes()), "{head:?}");
    }
    for head in [
        "",
        "#",
        "#\n",
        "version=1",
        "version=4\n",
        " version=1\n",
        "\nversion=1\n",
        "# a\n\nversion=1\n",
        "x",
    ] {
        assert!(!is_descriptor(head.as_bytes()), "{head:?}");
    }
    let far = format!("#{}\nversion=1\n", "x".repeat(600));
    assert!(!is_descriptor(far.as_bytes()));
}

#[test]
fn rejects_an_extent_that_qemu_counts_twice() {
    for blank in ["\n", " \n", "\r\n"] {
        rejected(separate("monolithicFlat", &format!("#\n{blank}RW 8 FLAT \"a\" 0")), "blank line");
    }
}

#[test]
fn rejects_malformed_extents() {
    for line in [
        "RW\n8\nFLAT\n\"a\"\n0",
        "RW",
        "RW 8 FLAT \"a",
        "RW 8 FLAT \"a\"",
        "RW 8 FLAT \"a\" -1",
        "RW 8 FLAT \"a\" + 1",
        "RW 8 FLAT\"a\" 0",
        "RW ++8 FLAT \"a\" 0",
        "RW 8 flat \"a\" 0",
        "RW 0 FLAT \"a\" 0",
        "RW FLAT \"a\" 0",
        "RW 8 8 FLAT \"a\" 0",
        "RW 99999999999999999999 FLAT \"a\" 0",
        "RW 8 SPARSE \"a\" 1",
        "RW 8 VMFS \"a\" 0",
        "RW 8 ZERO \"a\" 0",
        "RW x ZERO",
    ] {
        separate("monolithicFlat", line).unwrap_err();
    }
}

#[test]
fn rejects_absurd_sizes() {
    let most = u64::MAX;
    rejected(separate("monolithicFlat", &format!("RW {most} FLAT \"a\" 0")), "16 TiB");
    rejected(
        separate("monolithicFlat", &format!("RW {most} FLAT \"a\" 0\nRW {most} FLAT \"b\" 0")),
        "16 TiB",
    );
    rejected(separate("twoGbMaxExtentFlat", &"RW 8 FLAT \"a\" 0\n".repeat(257)), "more than 256 files");
    let mut long = text("monolithicFlat", "RW 8 FLAT \"a\" 0").into_bytes();
    long.resize(2 << 20, b'\n');
    rejected(Descriptor::parse(&long), "more than 1 MiB");
}

#[test]
fn rejects_a_missing_or_unknown_version_or_type_and_what_is_said_twice() {
    let good = text("monolithicFlat", "RW 8 FLAT \"a\" 0");
    for (from, to) in [
        ("version=1", "version=4"),
        ("version=1", ""),
        ("createType", "other"),
        ("CID=3", "CID=x"),
        ("version=1", "version"),
    ] {
        Descriptor::parse(good.replace(from, to).as_bytes()).unwrap_err();
    }
    rejected(Descriptor::parse(format!("{good}createType=\"vmfs\"\n").as_bytes()), "twice");
    rejected(Descriptor::parse(format!("{good}encryption.keySafe = \"x\"\n").as_bytes()), "encrypted");
}
