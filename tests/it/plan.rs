//! Facts about plan.
