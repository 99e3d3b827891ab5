//! Every bound of the crate, with its arithmetic. A number that limits anything lives here and nowhere else.

use std::time::Duration;

/// One kibibyte.
pub const KIB: usize = 1024;
/// One mebibyte.
pub const MIB: usize = 1024 * KIB;

/// Longest key, in bytes of UTF-8. A key fits a log record header and a B-tree page with room for its neighbours.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * MIB;
/// Values above this are stored and sent in chunks.
pub const VALUE_INLINE_BYTES_MAX: usize = 256 * KIB;
/// Payload of one chunk: just below a power of two, because the state rounds large values up to one.
pub const CHUNK_BYTES: usize = 256 * KIB - 128;
/// Chunks of the largest value: 64 MiB / (256 KiB - 128), rounded up.
pub const VALUE_CHUNKS_MAX: usize = VALUE_BYTES_MAX.div_ceil(CHUNK_BYTES);
/// Most changes in one change set.
pub const CHANGES_MAX: usize = 10_000;
/// Most guards in one change set.
pub const GUARDS_MAX: usize = 1_000;
/// Most bytes of keys and values in one change set; one value of the largest size always fits with its key.
pub const CHANGE_SET_BYTES_MAX: usize = VALUE_BYTES_MAX + CHANGES_MAX * (KEY_BYTES_MAX + 64) / 8;

/// Change sets that wait for the log at once; beyond it a commit is refused as overloaded.
pub const COMMIT_QUEUE_MAX: usize = 4_096;
/// Bytes of change sets that wait for the log at once: two of the largest.
pub const COMMIT_QUEUE_BYTES_MAX: usize = 2 * CHANGE_SET_BYTES_MAX;
/// Change sets written by one append and one sync.
pub const GROUP_CHANGE_SETS_MAX: usize = 1_024;
/// Bytes after which a group is closed. One change set may be larger than that and is then a group alone.
pub const GROUP_BYTES_MAX: usize = 4 * MIB;

/// A change set larger than this is written as several part records, so that no record is large.
pub const PART_BYTES: usize = 128 * KIB;
/// Payload of the largest log record: a part just below its bound, then one more inline value with its key.
pub const RECORD_BYTES_MAX: usize = PART_BYTES + VALUE_INLINE_BYTES_MAX + KEY_BYTES_MAX + KIB;

/// Longest control frame (everything but bulk), header excluded. A hello with a full history is the largest:
/// `HISTORY_ERAS_MAX` x 50 bytes and some text.
pub const CONTROL_FRAME_BYTES_MAX: usize = 128 * KIB;
/// Longest bulk frame, header excluded: one piece of log or snapshot.
pub const BULK_FRAME_BYTES_MAX: usize = 512 * KIB;
/// Longest frame of the enrolment protocol: a certificate and some text.
pub const ENROL_FRAME_BYTES_MAX: usize = 16 * KIB;
/// Room that a frame decoder offers to each read beyond the frame under way: some control frames at once.
pub const FRAME_READ_BYTES_MIN: usize = 4 * KIB;
/// Longest duration a peer may name (heartbeat, takeover delay, promise): that of the options, 24 h.
pub const PEER_DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest stable word (of a refused enrolment), in bytes.
pub const WORD_BYTES_MAX: usize = 64;
/// Longest durable durable state: 64 alerts x (2 texts of 512 bytes + 100) = 72 KiB, 16 tokens, a peer, and as much again.
pub const FACTS_BYTES_MAX: usize = 256 * KIB;
/// First bytes of a connection that are read before its TLS hello must be whole. One with post-quantum key shares has
/// about 2 KiB.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * KIB;
/// Longest certificate that is looked at; one of ours has about 400 bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * KIB;
/// Control messages that wait to be written to one link; beyond it the link is closed.
pub const LINK_CONTROL_QUEUE_MAX: usize = 256;
/// Bulk frames that wait in one link between the socket and the store.
pub const LINK_BULK_QUEUE_MAX: usize = 8;
/// Bulk frames that wait in the engine for the batch before them: a full window of the smallest frames worth sending.
pub const LINK_BULK_WAITING_MAX: usize = 4_096;
/// Bytes of bulk that wait there: two full windows.
pub const LINK_BULK_WAITING_BYTES_MAX: usize = 2 * WINDOW_BYTES_MAX;
/// Bytes of bulk in flight (sent and not acknowledged) at the least, so that a slow link still moves.
pub const WINDOW_BYTES_MIN: usize = 64 * KIB;
/// Bytes of bulk in flight at the most.
pub const WINDOW_BYTES_MAX: usize = 8 * MIB;
/// Bytes that one step of a push reads: a quarter of a small window, so that control frames slip between.
pub const PUSH_STEP_BYTES: usize = 256 * KIB;

/// Eras a history keeps; the oldest go first, and a position older than that is answered with a full push.
/// 1,024 restarts and takeovers x 48 bytes = 48 KiB in a hello.
pub const HISTORY_ERAS_MAX: usize = 1_024;

/// Terms that a peer may be ahead at once. One takeover is one term; a peer that claims more than this is broken, and
/// following it would use the numbers up.
pub const TERMS_AHEAD_MAX: u32 = 65_536;

/// Takeovers that are remembered for the hold-down, which counts three.
pub const TAKEOVERS_KEPT_MAX: usize = 16;

/// Entries of the alert log: 15 kinds, most with one subject.
pub const ALERTS_MAX: usize = 64;
/// Longest text (message, subject, reason) in an alert or a refusal, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;
/// Longest node name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest address (`host:port`): 253 of a host name, a colon, five digits.
pub const ADDRESS_BYTES_MAX: usize = 259;

/// Connections that have not yet shown a permitted certificate; at the limit the oldest is dropped.
pub const UNAUTHENTICATED_MAX: usize = 64;
/// Nodes that were accepted for enrolment and have not confirmed; beyond it the oldest is forgotten, and asks again.
pub const ENROLLING_MAX: usize = 16;
/// Host names of permits that are looked up at once; beyond it a connection is turned away. Each may hold a thread of the pool
/// that the disk uses for as long as the name server takes, so they are a small part of `POOL_THREADS_MAX`.
pub const LOOKUPS_MAX: usize = 8;
/// Connections to the pinned peer at once: the one that counts, and those that are being greeted.
pub const PEER_LINKS_MAX: usize = 4;
/// Time from accept to a finished handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which a batch of durable work that has not returned is an alert, where the takeover delay is not longer. A group
/// of commits is 8 MiB, a switch to a staged copy syncs what was written in pieces: a second each on a slow disk.
pub const BATCH_SLOW: Duration = Duration::from_secs(5);
/// Operators' commands that wait to be durable: a few hundred bytes each, and operators are people.
pub const UPDATES_WAITING_MAX: usize = 256;
/// Join tokens alive at once.
pub const TOKENS_MAX: usize = 16;
/// Longest life of a join token.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Life of a node's own certificate: 10 years. Its end is an alert and not a refusal, so it need not be short.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Life of a join token when none is named.
pub const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(15 * 60);

/// Bytes of one log segment, preallocated. A staged copy preallocates another one, and both fit a small disk.
pub const SEGMENT_BYTES: u64 = 4 * MIB as u64;
/// Bytes of a log segment at the least: where the log is bounded below four segments, segments are a quarter of its bound.
pub const SEGMENT_BYTES_MIN: u64 = 64 * KIB as u64;
/// Bytes of log records that are read or written with one call to the system.
pub const LOG_STEP_BYTES: usize = 256 * KIB;
/// Bytes of log between two positions that can be found without reading: 256 MiB / 32 KiB = 8,192 of 56 bytes.
pub const LOG_INDEX_BYTES: u64 = 32 * KIB as u64;
/// Positions of the log that are known by their number alone: with a bound of N change sets, every N / 1,024th.
pub const LOG_INDEX_ENTRIES: u64 = 1_024;
/// Memory that the state's pages may take, read and written.
pub const STATE_CACHE_BYTES: usize = 8 * MIB;
/// Memory that the node file's pages (durable state, local entries, quarantine) may take.
pub const NODE_CACHE_BYTES: usize = MIB;
/// Undo images that one round of maintenance removes: a few milliseconds.
pub const UNDO_PRUNE_MAX: usize = 20_000;
/// How far beyond [`OVERLAY_ENTRIES_MAX`] and [`OVERLAY_BYTES_MAX`] a commit lets the overlay grow before it does the
/// maintenance itself.
pub const OVERLAY_SLACK: usize = 4;
/// Default bound of the log in change sets.
pub const LOG_CHANGES_DEFAULT: u64 = 100_000;
/// Default bound of the log in bytes.
pub const LOG_BYTES_DEFAULT: u64 = 256 * MIB as u64;
/// Overlay entries that make the store apply them to the state.
pub const OVERLAY_ENTRIES_MAX: usize = 20_000;
/// Overlay bytes that make the store apply them to the state.
pub const OVERLAY_BYTES_MAX: usize = 8 * MIB;
/// Local entries of one node.
pub const LOCAL_ENTRIES_MAX: usize = 10_000;
/// Change sets of a former master that quarantine keeps at the most.
pub const QUARANTINE_CHANGE_SETS_MAX: u64 = 100_000;

/// Events one subscriber may lag behind before it is told that it missed some.
pub const EVENTS_MAX: usize = 1_024;
/// Change notices one watcher may lag behind before it is told to take a snapshot again.
pub const WATCH_MAX: usize = 1_024;

/// Threads of the pool for what blocks, over all nodes of the process; as many as tokio's own has.
pub const POOL_THREADS_MAX: usize = 512;
/// Threads of that pool on which names of peers are looked up: each is gone for as long as the name server takes.
pub const POOL_LOOKUPS_MAX: usize = 64;
/// Idle time after which a thread of that pool ends.
pub const POOL_IDLE: Duration = Duration::from_secs(10);
/// Operator's commands that wait for the node at once, beside `COMMIT_QUEUE_MAX` change sets.
pub const COMMAND_QUEUE_MAX: usize = 64;
/// What the node's own tasks (links, disk, listener) may have waiting for it; beyond it they wait.
pub const INPUTS_MAX: usize = 64;
/// Wake-ups handled in one go before status is published: enough to amortise it, few enough to stay below 1 ms.
pub const WAKE_UPS_MAX: usize = 64;
/// Bytes that one link may have received as bulk and not yet seen stored: a window, and one more for a peer that
/// counts differently. Beyond it the link is closed.
pub const LINK_BULK_BYTES_MAX: usize = 2 * WINDOW_BYTES_MAX;
/// What one received bulk frame costs beside its bytes, so that empty ones are not free.
pub const BULK_OVERHEAD_BYTES: usize = 256;
/// Time that a closed link waits for the other side's end, so that its last words are not lost to a TCP reset.
pub const LINGER: Duration = Duration::from_secs(1);
/// Head start of the learnt address before the one given by the host is dialled beside it (RFC 8305 names 250 ms).
pub const DIAL_HEAD_START: Duration = Duration::from_millis(250);
/// Time for an enrolment, from the first dial to the last answer, on either side.
pub const ENROL_TIMEOUT: Duration = Duration::from_secs(30);
/// First pause between two tries of an enrolment; doubles up to eight times that.
pub const ENROL_RETRY: Duration = Duration::from_millis(250);
/// Pause of the listener after an error (no file descriptors left, say), so that it does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Turned-away connections are reported at most once in this time; those between are counted.
pub const UNPERMITTED_INTERVAL: Duration = Duration::from_secs(1);
/// First pause after maintenance of the store failed; doubles up to 64 times that.
pub const MAINTENANCE_PAUSE: Duration = Duration::from_millis(500);
/// Interval at which certificates are looked at.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(24 * 3600);
/// Days before its end at which a certificate is worth an alert.
pub const CERTIFICATE_WARN_DAYS: u64 = 30;
/// Pushes that wait in one link. The engine asks for one at a time; more is a defect, and closes the link.
pub const LINK_PUSHES_MAX: usize = 8;
/// Largest identity file that is read: two keys and two certificates are a tenth of that.
pub const IDENTITY_BYTES_MAX: usize = 64 * KIB;

/// Longest record at the witness. One of format 1 has at most 4 magic + 4 checksum + 2 format + 16 pair + 32 holder + 9 epoch +
/// 9 lease + 33 in sync + 18 revision + 9 counter = 136 bytes; the rest is room for a newer one to be recognised as such.
pub const WITNESS_BYTES_MAX: usize = KIB;
/// Requests to one file witness under way at once: the one that counts, and one that hangs. Each holds a thread.
pub const WITNESS_FILE_REQUESTS_MAX: usize = 2;
/// Names in the directory of a file witness. There are two records, and a file aside per writer or crash within
/// [`WITNESS_FILE_ASIDE_AGE`]; in a directory with more something is wrong, and nobody looks for the highest number in it.
pub const WITNESS_FILE_NAMES_MAX: usize = 4_096;
/// Records that a file witness keeps: the one that counts and the one before it, which a slow reader may be about to read.
pub const WITNESS_FILE_RECORDS_KEPT: usize = 2;
/// Files that one swap cleans up at the most: it leaves one behind at the most, so 16 catch up with any past.
pub const WITNESS_FILE_CLEANED_MAX: usize = 16;
/// Age, by the file system's clock, of a file aside whose writer must have crashed. A writer that only was that slow finds
/// its file gone and says that the outcome is unknown.
pub const WITNESS_FILE_ASIDE_AGE: Duration = Duration::from_secs(3600);
/// Times that a reader of a file witness looks again because the record it found was cleaned up before it was read. Each
/// time the register was swapped twice meanwhile.
pub const WITNESS_FILE_READS_MAX: usize = 8;

/// A bound that a caller's input broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limit {
    /// The key is empty.
    #[error("a key must not be empty")]
    KeyEmpty,
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("a key has at most {KEY_BYTES_MAX} bytes, this one has {bytes}")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The value is longer than [`VALUE_BYTES_MAX`].
    #[error("a value has at most {VALUE_BYTES_MAX} bytes, this one has {bytes}")]
    ValueTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The change set has more than [`CHANGES_MAX`] changes.
    #[error("a change set has at most {CHANGES_MAX} changes, this one has {changes}")]
    TooManyChanges {
        /// Their number.
        changes: usize,
    },
    /// The change set has more than [`GUARDS_MAX`] guards.
    #[error("a change set has at most {GUARDS_MAX} guards, this one has {guards}")]
    TooManyGuards {
        /// Their number.
        guards: usize,
    },
    /// The change set is larger than [`CHANGE_SET_BYTES_MAX`].
    #[error("a change set has at most {CHANGE_SET_BYTES_MAX} bytes, this one has {bytes}")]
    ChangeSetTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The change set has no change.
    #[error("a change set needs at least one change")]
    NoChanges,
    /// There are [`LOCAL_ENTRIES_MAX`] local entries already.
    #[error("a node has at most {LOCAL_ENTRIES_MAX} local entries")]
    TooManyLocalEntries,
}
