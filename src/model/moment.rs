/// A moment on this node's suspend-aware clock (`CLOCK_BOOTTIME`), in microseconds. Only the difference of two moments of
/// the same node has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);
