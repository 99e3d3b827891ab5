//! What still breaks a rule. These lists only shrink: an entry that no longer breaks its rule fails the test.

/// Circles of files, each in alphabetical order.
pub const CIRCLES: &[&[&str]] = &[];

/// Functions, types and files that are too large: the file, and the beginning of what the rule says.
pub const SIZES: &[(&str, &str)] = &[];
