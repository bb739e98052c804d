//! Puts the eBPF object into the build: the file that `VFSYNC_EBPF_OBJECT` names, or an empty one.
//!
//! An empty object means "built without the eBPF programs": the agent says so and uses the tiers that are left.
//! The object has a toolchain of its own (`cargo xtask build` makes it), so that a plain `cargo build` needs
//! nothing but stable Rust.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=VFSYNC_EBPF_OBJECT");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("vfsync-ebpf.o");
    match env::var_os("VFSYNC_EBPF_OBJECT") {
        Some(object) => {
            let object = PathBuf::from(object);
            println!("cargo::rerun-if-changed={}", object.display());
            fs::copy(&object, &out)
                .unwrap_or_else(|e| panic!("cannot copy the eBPF object {}: {e}", object.display()));
        }
        None => fs::write(&out, []).expect("OUT_DIR is writable"),
    }
}
