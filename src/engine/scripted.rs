//! The exact double: an engine whose answers follow a script.
