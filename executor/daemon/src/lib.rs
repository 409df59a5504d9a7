//! davit-executor
