//! davit-executor

pub mod containerd;
pub mod settings;
