//! Text and durations that cross the wire, and their bounds.

use std::time::Duration;

use crate::model::limits::{ADDRESS_BYTES_MAX, NAME_BYTES_MAX, PEER_DURATION_MAX, TEXT_BYTES_MAX};
use crate::protocol::wire::WireError;

/// Prepares free text for sending: cut to `max` bytes at a character, control characters replaced.
///
/// It comes from operating systems and hosts, and a message must not fail because one of them is verbose. The receiver
/// refuses control characters, because it shows the text in logs and terminals.
fn cut(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // A control character of two bytes becomes a space of one: never longer than before.
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A reason, ready to be sent.
pub fn send_reason(text: &str) -> String {
    cut(text, TEXT_BYTES_MAX)
}

/// A name, ready to be sent.
pub fn send_name(text: &str) -> String {
    cut(text, NAME_BYTES_MAX)
}

/// An address: cut, it would be another one, so it is checked in both directions.
pub fn address(text: &str) -> Result<String, WireError> {
    received(text, ADDRESS_BYTES_MAX, "address")
}

/// A name that was received.
pub fn name(text: &str) -> Result<String, WireError> {
    received(text, NAME_BYTES_MAX, "name")
}

/// A reason that was received.
pub fn reason(text: &str) -> Result<String, WireError> {
    received(text, TEXT_BYTES_MAX, "reason")
}

fn received(text: &str, max: usize, field: &'static str) -> Result<String, WireError> {
    match text.len() > max || text.chars().any(char::is_control) {
        true => Err(WireError::Bound { field }),
        false => Ok(text.to_owned()),
    }
}

/// A duration as microseconds, which is finer than any timer here.
pub fn micros(duration: Duration, field: &'static str) -> Result<u64, WireError> {
    match u64::try_from(duration.as_micros()) {
        Ok(micros) if duration <= PEER_DURATION_MAX => Ok(micros),
        _ => Err(WireError::Bound { field }),
    }
}

/// A duration that was received.
pub fn duration(micros: u64, field: &'static str) -> Result<Duration, WireError> {
    match Duration::from_micros(micros) {
        duration if duration <= PEER_DURATION_MAX => Ok(duration),
        _ => Err(WireError::Bound { field }),
    }
}
