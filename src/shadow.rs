//! The stage that trains.
