//! Decides whether a symbolic link stays within the tree that it is copied with.

/// Returns whether a link in a directory `depth` levels below the top stays within the tree. The answer holds wherever
/// the tree is placed. A target may climb first and descend then. A `..` after a name does not count as safe: the name
/// may be another link, from whose target it would climb.
pub fn stays_within(depth: usize, target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return false;
    }
    let mut left = depth;
    let mut descended = false;
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if descended || left == 0 => return false,
            b".." => left -= 1,
            _ => descended = true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::stays_within;

    #[test]
    fn a_link_may_climb_to_the_top_and_descend_from_there() {
        for (depth, target) in
            [(0, "x"), (0, "./x/y"), (0, "."), (1, ".."), (2, "../../x/y"), (2, ".././..//x"), (1, "../...")]
        {
            assert!(stays_within(depth, target.as_bytes()), "{depth} {target}");
        }
    }

    #[test]
    fn rejects_what_leads_out_or_may_do_so_through_another_link() {
        for (depth, target) in [
            (0, "/"),
            (0, "/etc/passwd"),
            (9, "//x"),
            (0, ".."),
            (1, "../.."),
            (1, "../../x"),
            (0, "./../x"),
            (1, "x/../../y"),
            (5, "x/.."),
            (5, "../x/../y"),
        ] {
            assert!(!stays_within(depth, target.as_bytes()), "{depth} {target}");
        }
    }
}
