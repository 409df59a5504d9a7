//! `containerd.runc.v1.Options`: what a shim of the runc family is told at create. The client crate
//! does not generate it. Field numbers: containerd `api/types/runc/options/oci.proto`.

use prost::Message;
use prost_types::Any;

/// The task API version davit's shim speaks; 3 is also what tells containerd not to execute one.
const TASK_API_VERSION: u32 = 3;

/// Options of the runtime; empty fields mean the shim's defaults.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuncOptions {
    /// Name or path of the OCI runtime binary.
    #[prost(string, tag = "6")]
    pub binary_name: String,
    /// Directory for the OCI runtime's state.
    #[prost(string, tag = "7")]
    pub root: String,
    /// Address of a shim that runs already (containerd ≥ 2.1), `ttrpc+unix:///…`.
    #[prost(string, tag = "12")]
    pub task_api_address: String,
    /// Its task API version, with the address: 3.
    #[prost(uint32, tag = "13")]
    pub task_api_version: u32,
}

impl RuncOptions {
    /// Has containerd connect to the shim at `address` rather than execute one.
    #[must_use]
    pub fn for_shim_at(address: &str) -> Self {
        Self {
            task_api_address: address.to_owned(),
            task_api_version: TASK_API_VERSION,
            ..Self::default()
        }
    }

    /// As containerd passes it; its type URLs carry no prefix.
    #[must_use]
    pub fn to_any(&self) -> Any {
        Any {
            type_url: "containerd.runc.v1.Options".to_owned(),
            value: self.encode_to_vec(),
        }
    }
}
