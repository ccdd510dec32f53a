//! Names the executable's entry point to the linker: see `src/sys/sealed.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if arch == "x86_64" || arch == "aarch64" {
        println!("cargo::rustc-link-arg-bin=orlop=-Wl,-e,orlop_entry");
    }
}
