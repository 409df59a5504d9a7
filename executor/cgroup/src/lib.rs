//! davit-cgroup
