//! Framed, checksummed log segments.
