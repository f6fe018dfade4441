//! Arguments into a checked request, before any work starts.
