use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::model::{Key, Revision};

/// Changes, as they become visible. The node never waits for a watch: one that falls more than
/// [`WATCH_MAX`](crate::limits::WATCH_MAX) changes behind misses some and is told so. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    feed: Option<broadcast::Receiver<WatchNotice>>,
    prefix: Box<str>,
    /// What came up to here is known.
    from: Option<Revision>,
    /// Something was missed before the next change.
    missed: bool,
}

/// What a [`Watch`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Watched {
    /// These keys changed.
    Changed {
        /// By this revision.
        revision: Revision,
        /// Those of its keys that have the prefix; never empty.
        keys: Arc<[Key]>,
    },
    /// Changes were missed, or the whole copy was replaced: take a snapshot again.
    Lagged,
}

/// What the driver tells all watches.
#[derive(Clone, Debug)]
pub enum WatchNotice {
    /// A revision became visible.
    Changed { revision: Revision, keys: Arc<[Key]> },
    /// The whole copy was replaced.
    Replaced,
    /// The node has stopped.
    Stopped,
}

impl Watch {
    /// `None` where the node has stopped already.
    pub(in crate::node) fn new(
        feed: Option<broadcast::Receiver<WatchNotice>>,
        prefix: &str,
        from: Option<Revision>,
        missed: bool,
    ) -> Self {
        Self { feed, prefix: prefix.into(), from, missed }
    }

    /// Tells again that something was missed.
    pub(in crate::node) fn lag(&mut self) {
        self.missed = true;
    }

    /// Waits for the next change. `None` when the node has stopped. Dropping the future loses no change.
    pub async fn next(&mut self) -> Option<Watched> {
        if std::mem::take(&mut self.missed) {
            return Some(Watched::Lagged);
        }
        loop {
            let notice = match self.feed.as_mut()?.recv().await {
                Ok(notice) => notice,
                Err(RecvError::Lagged(_)) => WatchNotice::Replaced,
                Err(RecvError::Closed) => WatchNotice::Stopped,
            };
            match notice {
                WatchNotice::Changed { revision, .. } if Some(revision) <= self.from => {}
                WatchNotice::Changed { revision, keys } => {
                    if let Some(keys) = self.chosen(keys) {
                        return Some(Watched::Changed { revision, keys });
                    }
                }
                WatchNotice::Replaced => return Some(Watched::Lagged),
                WatchNotice::Stopped => self.feed = None,
            }
        }
    }

    /// The keys with the prefix; the same allocation where that is all of them.
    fn chosen(&self, keys: Arc<[Key]>) -> Option<Arc<[Key]>> {
        let ours = |key: &&Key| key.as_str().starts_with(&*self.prefix);
        match keys.iter().filter(ours).count() {
            0 => None,
            all if all == keys.len() => Some(keys),
            _ => Some(keys.iter().filter(ours).cloned().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;

    fn changed(seq: u64, keys: &[&str]) -> WatchNotice {
        let keys = keys.iter().map(|key| Key::new(key).unwrap()).collect();
        WatchNotice::Changed { revision: Revision::new(Epoch::FIRST, seq), keys }
    }

    #[tokio::test]
    async fn a_watch_shows_its_prefix_and_says_when_it_missed_something() {
        let feed = broadcast::Sender::new(4);
        let known = Revision::new(Epoch::FIRST, 0);
        let mut watch = Watch::new(Some(feed.subscribe()), "a/", Some(known), true);
        assert_eq!(watch.next().await, Some(Watched::Lagged), "something came before it began");
        feed.send(changed(0, &["a/0"])).unwrap();
        feed.send(changed(1, &["b/1"])).unwrap();
        feed.send(changed(2, &["a/1", "b/1", "a/2"])).unwrap();
        let Some(Watched::Changed { revision, keys }) = watch.next().await else { panic!("a change") };
        assert_eq!((revision.seq, keys.len()), (2, 2));
        for seq in 3..9 {
            feed.send(changed(seq, &["a/1"])).unwrap();
        }
        assert_eq!(watch.next().await, Some(Watched::Lagged));
        for _ in 0..4 {
            assert!(matches!(watch.next().await, Some(Watched::Changed { .. })));
        }
        feed.send(WatchNotice::Replaced).unwrap();
        assert_eq!(watch.next().await, Some(Watched::Lagged));
        feed.send(WatchNotice::Stopped).unwrap();
        assert_eq!(watch.next().await, None);
        assert_eq!(watch.next().await, None);
    }
}
