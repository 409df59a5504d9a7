//! The settings file of an executor under test, as dotted TOML keys.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::{CGROUP_PARENT, NAMESPACE};

/// What is written to the executor's settings file.
#[derive(Clone, Debug)]
pub(crate) struct ExecutorSettings {
    keys: BTreeMap<String, String>,
    tables: String,
    environment: BTreeMap<String, String>,
}

impl ExecutorSettings {
    /// State and socket in the test's directory, containerd as given.
    pub(super) fn new(directory: &Path, containerd_socket: &Path) -> Self {
        let empty = Self {
            keys: BTreeMap::new(),
            tables: String::new(),
            environment: BTreeMap::new(),
        };
        empty
            .text("state_dir", &directory.join("state").to_string_lossy())
            .text("socket", &socket_in(directory).to_string_lossy())
            .text("cgroup_parent", CGROUP_PARENT)
            .text("containerd.socket", &containerd_socket.to_string_lossy())
            .text("containerd.namespace", NAMESPACE)
    }

    /// Sets a key (dotted where nested: `images.pull_stall_seconds`) to a TOML value as written.
    pub(crate) fn value(mut self, key: &str, literal: &str) -> Self {
        self.keys.insert(key.to_owned(), literal.to_owned());
        self
    }

    /// Sets a key to a string.
    pub(crate) fn text(self, key: &str, text: &str) -> Self {
        let literal = format!("{text:?}");
        self.value(key, &literal)
    }

    /// Appends whole tables, e.g. `[[instance_types]]` or `[registries."127.0.0.1:5001"]`.
    pub(crate) fn tables(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self.tables.push('\n');
        self
    }

    /// Sets a variable of the executor's environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The file's text.
    pub(crate) fn to_toml(&self) -> String {
        let mut toml = String::new();
        for (key, literal) in &self.keys {
            // Writing to a String cannot fail.
            writeln!(toml, "{key} = {literal}").unwrap_or_default();
        }
        toml + &self.tables
    }

    /// The executor's additional environment.
    pub(super) fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }
}

/// Path of the executor's socket for a test's directory.
pub(super) fn socket_in(directory: &Path) -> PathBuf {
    directory.join("executor.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_values_replace_earlier_ones_and_tables_come_last() {
        let settings = ExecutorSettings::new(Path::new("/t"), Path::new("/c.sock"))
            .text("cgroup_parent", "/other")
            .value("images.pull_stall_seconds", "5")
            .tables("[network]\nallow_host = true");
        let toml = settings.to_toml();
        assert!(toml.contains("cgroup_parent = \"/other\"\n"), "{toml}");
        assert!(toml.contains("state_dir = \"/t/state\"\n"), "{toml}");
        assert!(toml.ends_with("[network]\nallow_host = true\n"), "{toml}");
    }
}
