//! Texts and durations in messages, and their bounds.

use std::time::Duration;

use crate::model::limits::{ADDRESS_BYTES_MAX, NAME_BYTES_MAX, PEER_DURATION_MAX, TEXT_BYTES_MAX};
use crate::protocol::wire::WireError;

/// Prepares free text for sending: cuts it to `max` bytes at a character boundary and replaces control characters.
///
/// Free text comes from operating systems and hosts. A long one must not make a message fail. The receiver refuses control
/// characters, because it shows the text in logs and terminals.
fn cut(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // A control character has one byte or two, and a space has one: the text never grows.
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Prepares a reason for sending.
pub fn send_reason(text: &str) -> String {
    cut(text, TEXT_BYTES_MAX)
}

/// Prepares a name for sending.
pub fn send_name(text: &str) -> String {
    cut(text, NAME_BYTES_MAX)
}

/// Checks an address, sent or received. It is never cut, because that would make it another address.
pub fn address(text: &str) -> Result<String, WireError> {
    received(text, ADDRESS_BYTES_MAX, "address")
}

/// Checks a received name.
pub fn name(text: &str) -> Result<String, WireError> {
    received(text, NAME_BYTES_MAX, "name")
}

/// Checks a received reason.
pub fn reason(text: &str) -> Result<String, WireError> {
    received(text, TEXT_BYTES_MAX, "reason")
}

fn received(text: &str, max: usize, field: &'static str) -> Result<String, WireError> {
    match text.len() > max || text.chars().any(char::is_control) {
        true => Err(WireError::Bound { field }),
        false => Ok(text.to_owned()),
    }
}

/// Prepares a duration for sending, in microseconds, and checks its bound.
pub fn micros(duration: Duration, field: &'static str) -> Result<u64, WireError> {
    match u64::try_from(duration.as_micros()) {
        Ok(micros) if duration <= PEER_DURATION_MAX => Ok(micros),
        _ => Err(WireError::Bound { field }),
    }
}

/// Checks a received duration.
pub fn duration(micros: u64, field: &'static str) -> Result<Duration, WireError> {
    match Duration::from_micros(micros) {
        duration if duration <= PEER_DURATION_MAX => Ok(duration),
        _ => Err(WireError::Bound { field }),
    }
}
