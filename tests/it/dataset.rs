//! Facts about dataset.
