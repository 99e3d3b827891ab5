//! Bringing a sink to a source's position.
