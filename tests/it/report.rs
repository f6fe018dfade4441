//! Facts about report.
