//! Facts about flow.
