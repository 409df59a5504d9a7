//! Generates the local API, the link, and the consoles that both carry; needs `protoc` on PATH.

fn main() -> std::io::Result<()> {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR").map_err(std::io::Error::other)?);
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("console_descriptor.bin"))
        .compile_protos(&["proto/davit/console/v1/console.proto"], &["proto"])?;
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("local_descriptor.bin"))
        .extern_path(".davit.console.v1", "crate::console")
        .compile_protos(&["proto/davit/local/v1/local.proto"], &["proto"])?;
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("link_descriptor.bin"))
        .extern_path(".davit.console.v1", "crate::console")
        .codec_path("crate::codec::LinkCodec")
        .compile_protos(&["proto/davit/executor/v1/link.proto"], &["proto"])
}
