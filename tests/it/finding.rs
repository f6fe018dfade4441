//! Facts about finding.
