//! Facts about stats.
