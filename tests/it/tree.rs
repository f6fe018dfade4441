//! Facts about tree.
