//! davit-executor

pub mod containerd;
pub mod images;
pub mod oci;
pub mod runtimes;
pub mod settings;
