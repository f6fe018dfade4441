//! Facts about nestling.
