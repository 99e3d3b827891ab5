//! An engine whose peer is authenticated and says anything, and whose shell keeps the contract of
//! [`Engine`](crate::protocol::engine::Engine).

mod identifiers;
mod model_store;
mod peer;
mod shell;

use super::input::Input;
use shell::Shell;

/// The first byte chooses the node: a shadow that follows, a master that serves, a shadow that has just enrolled. What follows is
/// a sequence of messages, bulk, callers and time.
pub fn engine(bytes: &[u8]) {
    let Some((node, rest)) = bytes.split_first() else { return };
    let mut shell = match node % 3 {
        0 => Shell::following_shadow(),
        1 => Shell::serving_master(),
        _ => Shell::enrolled_shadow(),
    };
    let mut input = Input(rest);
    while !input.is_over() && !shell.has_stopped() {
        shell.step(&mut input);
    }
    shell.shut_down();
}
