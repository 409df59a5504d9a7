//! Finding an OCI runtime's own words in its JSON log.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes at the end of the log that are looked at for a message.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024;

/// The log from `offset` on, as text.
pub(crate) fn read_from(path: &Path, offset: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    // Only the end of a long log: the last error is the one that counts.
    file.seek(SeekFrom::Start(
        offset.max(len.saturating_sub(MESSAGE_BYTES_MAX)),
    ))?;
    let mut bytes = Vec::new();
    file.take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last error in a runtime's JSON log (one object a line, or pretty-printed as crun does); a text that
/// is no JSON is given back as it is.
pub(crate) fn last_error(log: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Entry {
        level: String,
        msg: String,
    }
    let last = serde_json::Deserializer::from_str(log)
        .into_iter::<Entry>()
        .map_while(Result::ok)
        .filter(|entry| matches!(entry.level.as_str(), "error" | "fatal" | "panic"))
        .last();
    if let Some(entry) = last {
        return Some(entry.msg);
    }
    let text = log.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_last_error_is_the_message() {
        let log = concat!(
            r#"{"level":"debug","msg":"a","time":"t"}"#,
            "\n",
            r#"{"level":"error","msg":"first","time":"t"}"#,
            "\n",
            r#"{"level":"error","msg":"exec: \"nope\": not found","time":"t"}"#,
            "\n",
            r#"{"level":"warning","msg":"later"}"#,
            "\n"
        );
        assert_eq!(last_error(log).unwrap(), "exec: \"nope\": not found");
        let crun = "{\n \"msg\": \"no `cpu`\",\n \"level\": \"error\"\n}\n";
        assert_eq!(last_error(crun).unwrap(), "no `cpu`");
        assert_eq!(last_error("plain text\n").unwrap(), "plain text");
        assert_eq!(last_error(" \n"), None);
    }

    #[test]
    fn only_new_lines_of_the_log_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.json");
        fs::write(&log, "old\nnew\n").unwrap();
        assert_eq!(read_from(&log, 4).unwrap(), "new\n");
    }
}
