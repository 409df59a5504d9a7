//! `davit usage export`: the ledger, page by page to standard output.
//!
//! The cursor after the last row printed goes to standard error, also when the export breaks: an export resumed there has
//! every row once.

use super::Session;
use super::client::{Answer, Call};
use crate::args::{ExportArgs, ExportFormat};
use crate::error::CliError;
use crate::output::{note, print_bytes};

/// Rows asked for at once, the most there are.
const PAGE_ROWS: usize = 1_000;
/// The header that holds the cursor after a page.
const NEXT: &str = "davit-next";

pub(super) async fn export(args: &ExportArgs, session: &Session) -> Result<(), CliError> {
    let mut after = args.after.clone();
    let mut sheet = Sheet {
        format: args.format,
        began: false,
    };
    let done = pages(&mut sheet, &mut after, session).await;
    if let Some(cursor) = &after {
        note(&format!("to go on from here: --after {cursor}"));
    }
    done?;
    sheet.end()
}

/// Prints page after page; `after` is always the place after what was printed.
async fn pages(
    sheet: &mut Sheet,
    after: &mut Option<String>,
    session: &Session,
) -> Result<(), CliError> {
    loop {
        let wanted = match sheet.format {
            ExportFormat::Csv => "csv",
            ExportFormat::Json | ExportFormat::Ndjson => "ndjson",
        };
        let mut call = Call::get(&["usage"])
            .query("format", wanted)
            .query("limit", PAGE_ROWS.to_string());
        if let Some(after) = after.as_deref() {
            call = call.query("after", after);
        }
        let answer = session.client.send(&call).await?;
        let rows = sheet.print(&answer)?;
        let next = answer.headers.get(NEXT).and_then(|next| next.to_str().ok());
        let next = next.ok_or(CliError::Protocol("the place where the next page begins"))?;
        *after = Some(next.to_owned());
        if rows < PAGE_ROWS {
            return Ok(());
        }
    }
}

/// What was written so far.
struct Sheet {
    format: ExportFormat,
    began: bool,
}

impl Sheet {
    /// Prints a page's rows; how many they are.
    fn print(&mut self, answer: &Answer) -> Result<usize, CliError> {
        let mut lines = answer.text.lines();
        let header = (self.format == ExportFormat::Csv).then(|| lines.next());
        let mut text = String::with_capacity(answer.text.len() + 2);
        if let (Some(Some(header)), false) = (header, self.began) {
            text.push_str(header);
            text.push_str("\r\n");
        }
        let mut rows = 0;
        for line in lines.filter(|line| !line.is_empty()) {
            let (before, behind) = match self.format {
                ExportFormat::Csv => ("", "\r\n"),
                ExportFormat::Ndjson => ("", "\n"),
                ExportFormat::Json if self.began || rows > 0 => (",\n", ""),
                ExportFormat::Json => ("[\n", ""),
            };
            for piece in [before, line, behind] {
                text.push_str(piece);
            }
            rows += 1;
        }
        self.began |= rows > 0 || self.format == ExportFormat::Csv;
        print_bytes(text.as_bytes())?;
        Ok(rows)
    }

    fn end(&self) -> Result<(), CliError> {
        match (self.format, self.began) {
            (ExportFormat::Json, true) => print_bytes(b"\n]\n"),
            (ExportFormat::Json, false) => print_bytes(b"[]\n"),
            _ => Ok(()),
        }
    }
}
