//! davit-lifecycle
