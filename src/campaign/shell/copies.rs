//! Histories with a copy: a third machine, whose disk was copied from one node's at some moment, runs a node with that node's identity.
//!
//! What a copy can do, and what is expected. The *first* is the one of the two that the peer is linked to when the other comes.
//!
//! | | what the copy, or the later one, can do | what is expected |
//! |---|---|---|
//! | the first keeps its link, whichever node was copied, with a witness or without | nothing: it is refused, and neither serves nor takes over | at every moment one node serves. The link of the first never breaks. Peer and first each have one alert that names both addresses; the later one says that it is refused |
//! | the copy starts after the original died | it is that node: it is welcomed, follows or serves, and acknowledges. Nobody can tell | with a witness one node serves. What it acknowledged alone goes with its disk |
//! | the original comes back while the copy is linked | now the original is the later one | as in the first row |
//! | the first loses its link while the other runs: a cut, a reset, a stop or a restart of either end | whoever reaches the peer then is the first. Until the other one is refused there, both may serve: the one by what the peer has promised before, or by its lease; the other by what the peer promises now | **not** that one serves, not even with a witness, nor that nothing is lost: that is only measured (`doubled_us`, `lost`). But with a quiet network two do not serve beyond `PARTED`, and by `SEEN` an alert stands on some node |
//! | the peer is away as well, without a witness | both serve: nothing is left that both could ask | the same, from when they can reach the peer |
//!
//! The fourth row is a gap in "one master", and a history shows it (seed 176: 165 ms with a takeover delay of 500 ms). The peer's promise to the run that it
//! was linked to still holds when it promises to another run, and a copy knows its original's epoch, so it does not wait for the lease. To wait for both in
//! every restart would close the gap and make each restart of a master longer by a lease. `tests::two_can_serve_for_a_moment_where_they_part` keeps it in view.
//!
//! Always: what shows is one whole revision, one position has one content, and no two nodes serve under one epoch. With a witness and synchronous
//! replication nothing is lost that was acknowledged, in the first three rows. When the copy has been stopped for good the pair becomes whole;
//! where the copy held something alone, an operator accepts that it is gone.

mod history;
mod plan;
mod tests;
