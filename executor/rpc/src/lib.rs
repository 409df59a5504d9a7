//! The executor's wire: generated gRPC code and its conversions to davit's own types.
//!
//! Invariant: generated types stop here and in the two places that serve or call the API; nothing
//! behind them sees a proto type.

#![forbid(unsafe_code)]

/// `davit.local.v1`: the API on the host's unix socket.
#[expect(missing_docs, clippy::all, clippy::pedantic, reason = "generated; documented in the .proto")]
#[allow(unreachable_pub, unused_qualifications, clippy::allow_attributes, reason = "generated")]
pub mod local {
    tonic::include_proto!("davit.local.v1");

    /// For the reflection service.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/local_descriptor.bin"));
}
