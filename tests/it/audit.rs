//! Facts about audit.
