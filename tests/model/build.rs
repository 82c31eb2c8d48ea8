//! Has the host's locks be those of the model's scheduler, in this crate alone.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(wpool_model)");
    println!("cargo::rustc-cfg=wpool_model");
}
