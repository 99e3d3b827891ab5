//! What the node tells any number of readers, none of whom it waits for.

use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;

/// A broadcast channel that is made when somebody first listens: its buffer has room for all that a reader may lag behind, which is more
/// memory than anything else of an idle node. Clones share.
#[derive(Debug)]
pub struct Feed<T> {
    sender: Arc<OnceLock<broadcast::Sender<T>>>,
    lag_max: usize,
}

impl<T: Clone> Feed<T> {
    /// A reader may lag so many notices behind.
    pub fn new(lag_max: usize) -> Self {
        Self { sender: Arc::default(), lag_max }
    }

    /// A reader of what is sent from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<T> {
        self.sender.get_or_init(|| broadcast::Sender::new(self.lag_max)).subscribe()
    }

    /// Whether anybody listens.
    pub fn has_readers(&self) -> bool {
        self.sender.get().is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Tells whoever listens.
    pub fn send(&self, notice: T) {
        if let Some(sender) = self.sender.get() {
            // An error means that nobody listens any more.
            let _ = sender.send(notice);
        }
    }
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self { sender: Arc::clone(&self.sender), lag_max: self.lag_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_buffer_before_somebody_listens() {
        let feed = Feed::new(4);
        feed.send(1);
        assert!(feed.sender.get().is_none() && !feed.has_readers());
        let mut reader = feed.clone().subscribe();
        feed.send(2);
        assert_eq!((reader.try_recv().ok(), reader.try_recv().ok()), (Some(2), None));
        drop(reader);
        assert!(!feed.has_readers());
        feed.send(3);
    }
}
