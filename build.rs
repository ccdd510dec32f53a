//! Names the executable's entry point to the linker (see `src/sys/sealed.rs`) and writes the table
//! of system calls (see `src/seccomp/syscalls.rs`).

#[path = "build/syscalls.rs"]
mod syscalls;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if arch == "x86_64" || arch == "aarch64" {
        println!("cargo::rustc-link-arg-bin=orlop=-Wl,-e,orlop_entry");
    }
    let directory = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let path = std::path::Path::new(&directory).join("syscalls.rs");
    std::fs::write(path, syscalls::table()).expect("write the table of system calls");
}
