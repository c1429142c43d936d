//! Linker set-up for the Node.js addon; nothing to do for the plain Rust crate.

fn main() {
    #[cfg(feature = "node")]
    napi_build::setup();
}
