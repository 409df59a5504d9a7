//! Generates the local API and the link; needs `protoc` on PATH.

fn main() -> std::io::Result<()> {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR").map_err(std::io::Error::other)?);
    for (descriptor, proto) in [
        ("local_descriptor.bin", "proto/davit/local/v1/local.proto"),
        ("link_descriptor.bin", "proto/davit/executor/v1/link.proto"),
    ] {
        tonic_prost_build::configure()
            .file_descriptor_set_path(out.join(descriptor))
            .compile_protos(&[proto], &["proto"])?;
    }
    Ok(())
}
