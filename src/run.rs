//! The flow, in one function.
