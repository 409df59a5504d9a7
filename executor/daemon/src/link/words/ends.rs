//! The end of an attempt in the link's words.

use davit_rpc::link;
use davit_types::{ExtractKind, Extracted};

use crate::link::place::Ended;

pub(super) fn ended(ended: Ended) -> link::Ended {
    link::Ended {
        end_reason: ended.reason.as_str().to_owned(),
        exit_code: ended.exit_code.map(u32::from),
        message: ended.message,
        // Numbers in named fields always serialise.
        usage_json: serde_json::to_string(&ended.usage).unwrap_or_default(),
        wall_ms: ended.wall_ms,
        log_last_id: ended.log_last_id,
        extracts: ended.extracts.into_iter().map(extracted).collect(),
    }
}

/// Where from and where to the scheduler knows.
fn extracted(extracted: Extracted) -> link::Extracted {
    let kind = extracted.kind.map_or("", ExtractKind::as_str);
    link::Extracted {
        status: extracted.status.as_str().to_owned(),
        kind: kind.to_owned(),
        bytes: extracted.bytes,
        sha256: extracted.sha256,
        message: extracted.message,
    }
}
