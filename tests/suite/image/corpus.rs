//! What the fuzzers start from, and what they found: replayed without them.

#[path = "../../../fuzz/bodies.rs"]
mod bodies;

use crate::support::report::report;
use std::fs;
use std::path::Path;

#[test]
fn every_seed_of_every_fuzz_target_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for target in fs::read_dir(seeds).unwrap() {
        let target = target.unwrap();
        let name = target.file_name().into_string().unwrap();
        let mut count = 0;
        for seed in fs::read_dir(target.path()).unwrap() {
            let seed = seed.unwrap().path();
            println!("{}", seed.display());
            bodies::run(&name, &fs::read(seed).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
        report(format_args!("{name}: {count} seeds"));
    }
}
