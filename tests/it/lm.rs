//! Facts about lm.
