/// A moment of the suspend-aware clock (`CLOCK_BOOTTIME`), in microseconds. Only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);
