//! Every bound of the crate, with its arithmetic. A number that limits anything lives here and nowhere else.

use std::time::Duration;

/// One kibibyte.
pub const KIB: usize = 1024;
/// One mebibyte.
pub const MIB: usize = 1024 * KIB;

// Keys, values and change sets.

/// Longest key, in bytes of UTF-8. The header of a log record and a B-tree page have room for a key and its neighbours.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * MIB;
/// Longest value that is stored and sent in one piece. Longer ones are stored and sent in chunks.
pub const VALUE_INLINE_BYTES_MAX: usize = 256 * KIB;
/// Bytes of a value in one chunk. It is just below a power of two, because the state rounds large values up to one.
pub const CHUNK_BYTES: usize = 256 * KIB - 128;
/// Chunks of the longest value: 64 MiB / (256 KiB - 128), rounded up.
pub const VALUE_CHUNKS_MAX: usize = VALUE_BYTES_MAX.div_ceil(CHUNK_BYTES);
/// Most changes in one change set.
pub const CHANGES_MAX: usize = 10_000;
/// Most guards in one change set.
pub const GUARDS_MAX: usize = 1_000;
/// Most bytes of keys and values in one change set. One value of the largest size always fits with its key.
pub const CHANGE_SET_BYTES_MAX: usize = VALUE_BYTES_MAX + CHANGES_MAX * (KEY_BYTES_MAX + 64) / 8;

/// Most change sets that wait for the log. Beyond it, a commit is refused as overloaded.
pub const COMMIT_QUEUE_MAX: usize = 4_096;
/// Most bytes of change sets that wait for the log: two of the largest.
pub const COMMIT_QUEUE_BYTES_MAX: usize = 2 * CHANGE_SET_BYTES_MAX;
/// Most change sets in one group, which is written by one append and one sync.
pub const GROUP_CHANGE_SETS_MAX: usize = 1_024;
/// Bytes after which a group takes no further change set. A change set that is larger than this is a group of its own.
pub const GROUP_BYTES_MAX: usize = 4 * MIB;

// Log records and frames.

/// Bytes of changes after which a change set goes on in another record, so that no record is large.
pub const PART_BYTES: usize = 128 * KIB;
/// Payload of the largest log record: changes just below [`PART_BYTES`], and one more inline value with its key.
pub const RECORD_BYTES_MAX: usize = PART_BYTES + VALUE_INLINE_BYTES_MAX + KEY_BYTES_MAX + KIB;

/// Bytes of a change set that is carried to the master in one frame: at [`LINK_RATE_MIN`] it delays a heartbeat by 2 s at most.
pub const CARRIED_PART_BYTES: usize = 32 * KIB;
/// Payload of a carried frame: a part of the change set, or the answer to one, which may name a key.
pub const CARRIED_FRAME_BYTES_MAX: usize = CARRIED_PART_BYTES + 64 + KEY_BYTES_MAX;
/// Longest change set that is carried: two of the largest, since its guards hold what it replaces.
pub const CARRIED_BYTES_MAX: usize = 2 * CHANGE_SET_BYTES_MAX;
/// Time for which an operator on the shadow waits until what was carried to the master is visible there too.
pub const CARRIED_WAIT: Duration = Duration::from_secs(5);
/// Longest control frame (all frames but bulk), without its header. The largest is a hello with a full history:
/// `HISTORY_ERAS_MAX` x 50 bytes and some text.
pub const CONTROL_FRAME_BYTES_MAX: usize = 128 * KIB;
/// Longest bulk frame, without its header: one piece of log or snapshot.
pub const BULK_FRAME_BYTES_MAX: usize = 512 * KIB;
/// Longest frame of the enrolment protocol, without its header: a certificate and some text.
pub const ENROL_FRAME_BYTES_MAX: usize = 16 * KIB;
/// Least room that a frame decoder offers to a read beyond the frame under way: several control frames at once.
pub const FRAME_READ_BYTES_MIN: usize = 4 * KIB;
/// Longest duration that a peer may name (heartbeat, takeover delay, promise): 24 h, as in the options.
pub const PEER_DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest word that says why an enrolment was refused, in bytes.
pub const WORD_BYTES_MAX: usize = 64;
/// Longest durable state of a node: 64 alerts x (2 texts of 512 bytes + 100) = 72 KiB, 16 tokens, a peer, and as much again.
pub const DURABLE_STATE_BYTES_MAX: usize = 256 * KIB;
/// Bytes within which the TLS hello of a connection must be complete. One with post-quantum key shares has about 2 KiB.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * KIB;
/// Longest certificate that is read. A node's own has about 400 bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * KIB;
/// Most control messages that wait to be written to one link. Beyond it, the link is closed.
pub const LINK_CONTROL_QUEUE_MAX: usize = 256;
/// Most bulk frames of one link that wait between the socket and the store.
pub const LINK_BULK_QUEUE_MAX: usize = 8;
/// Most bulk frames that wait for the batch before them: a full window of the smallest frames worth sending.
pub const LINK_BULK_WAITING_MAX: usize = 4_096;
/// Most bytes of bulk that wait for the batch before them: two full windows.
pub const LINK_BULK_WAITING_BYTES_MAX: usize = 2 * WINDOW_BYTES_MAX;
/// Slowest link that is to keep up with the default timings, bytes per second.
pub const LINK_RATE_MIN: usize = 16 * KIB;
/// Smallest window, and the first of a session: bytes of bulk that may be sent and not acknowledged. At [`LINK_RATE_MIN`] they
/// take a quarter of a second, so that a heartbeat waits no longer than that.
pub const WINDOW_BYTES_MIN: usize = LINK_RATE_MIN / 4;
/// Largest window of a link on which nothing was in flight for a heartbeat interval: a second at [`LINK_RATE_MIN`], and as much
/// as TCP sends at first (RFC 6928).
pub const WINDOW_BYTES_IDLE: usize = 4 * WINDOW_BYTES_MIN;
/// Largest window: bytes of bulk that may be sent and not acknowledged.
pub const WINDOW_BYTES_MAX: usize = 8 * MIB;
/// Time for which the bytes of one unfinished frame count as a sign of life: the longest frame at [`LINK_RATE_MIN`]. A peer
/// that sends small frames needs none of it; one that sends a few bytes now and then cannot keep a link alive with them.
pub const FRAME_TIME_MAX: Duration = Duration::from_secs((BULK_FRAME_BYTES_MAX / LINK_RATE_MIN) as u64);
/// Bytes that one step of a push reads: few enough that control frames slip between.
pub const PUSH_STEP_BYTES: usize = 256 * KIB;

// History, terms, alerts and texts.

/// Most eras of a history. The oldest are forgotten first; a position older than they are is repaired by a full push.
/// 1,024 restarts and takeovers x 48 bytes = 48 KiB in a hello.
pub const HISTORY_ERAS_MAX: usize = 1_024;

/// Most terms by which a peer may be ahead. One takeover takes one term. A peer that is ahead by more is broken, and to
/// follow it would use up the terms.
pub const TERMS_AHEAD_MAX: u32 = 65_536;
/// Most words of operators, on one mode of the pair, that a peer may know of and this node may not. A peer that is ahead by more is
/// broken, and to believe it would leave no later word.
pub const MODE_CHANGES_AHEAD_MAX: u64 = 1_048_576;

/// Most takeovers that are remembered. The hold-down counts three.
pub const TAKEOVERS_KEPT_MAX: usize = 16;

/// Most entries of the alert log: 19 kinds, most of which have one subject.
pub const ALERTS_MAX: usize = 64;
/// Time after which a state that an operator must end, and that prevents no takeover, is an alert: 10 min. Who sets up a pair is
/// done by then.
pub const OPERATOR_GRACE: Duration = Duration::from_secs(600);
/// Time after which such an alert becomes an error: 1 h.
pub const OPERATOR_ERROR_AFTER: Duration = Duration::from_secs(3600);
/// Least step of the wall clock between two events, beside a 64th of the time between them, that counts as set and not as
/// running: 10 s. A clock that is only corrected by its rate stays below (500 ppm are 1.8 s in an hour).
pub const CLOCK_STEP: Duration = Duration::from_secs(10);
/// Most alerts about strangers that are told apart by their addresses. Those of further addresses are one alert together.
pub const UNPERMITTED_SOURCES_MAX: usize = 8;
/// Time after the last stranger from an address at which the alert about it goes by itself: 1 h.
pub const UNPERMITTED_QUIET: Duration = Duration::from_secs(3600);
/// Time within which an alert that only occurs again is told to the host at most once: 1 min. A scanner that comes every second
/// is 1,440 events a day instead of 86,400.
pub const ALERT_UPDATE_INTERVAL: Duration = Duration::from_secs(60);
/// Longest time for which an alert's count stays in memory alone: 5 min. A scanner that comes every second costs 288 writes a day.
pub const ALERT_WRITE_INTERVAL: Duration = Duration::from_secs(300);
/// Most alerts within [`ALERT_WRITE_INTERVAL`] that a network or a peer can begin and end, and that are written at once. What
/// follows is written together at the end of that time: a link that comes and goes every second costs 17 writes in 5 min.
pub const ALERT_WRITES_MAX: u32 = 16;
/// Longest text (message, subject, reason) in an alert or a refusal, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;
/// Longest node name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest address (`host:port`): 253 bytes of host name, a colon, five digits.
pub const ADDRESS_BYTES_MAX: usize = 259;

// Connections and enrolment.

/// Most connections that have not yet shown a permitted certificate. Beyond it, the oldest is closed.
pub const UNAUTHENTICATED_MAX: usize = 64;
/// Most nodes that were accepted for enrolment and have not confirmed. Beyond it, the oldest is forgotten and must ask
/// again.
pub const ENROLLING_MAX: usize = 16;
/// Most host names of permits that are looked up at once. Beyond it, a connection is turned away. A lookup may occupy a
/// thread of the pool for as long as the name server takes, and the disk uses the same pool; so this is a small part of
/// [`POOL_THREADS_MAX`].
pub const LOOKUPS_MAX: usize = 8;
/// Most connections to the pinned peer: the one in use, and those whose hello is not answered yet.
pub const PEER_LINKS_MAX: usize = 4;
/// Time from the accept of a connection to the end of its handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which a batch of durable work that has not returned raises an alert; the takeover delay, if that is longer.
/// A group of commits has 4 MiB or one larger change set, and the switch to a staged copy syncs what was written in
/// pieces: a second each on a slow disk.
pub const BATCH_SLOW: Duration = Duration::from_secs(5);
/// Least default of the time after which a disk that does not answer is given up. What a batch writes beside its bytes of changes, and
/// a sync behind what others have written, take a few seconds on a slow disk. For the bytes it has more time: [`DISK_RATE_MIN`].
pub const DISK_TIMEOUT_MIN: Duration = Duration::from_secs(10);
/// Slowest disk that is not given up, bytes per second: half of a card that writes 4 MB/s. The largest change set has 64 MiB, so it
/// may take 32 s longer than an empty one.
pub const DISK_RATE_MIN: u64 = 2 * MIB as u64;
/// Most operators' commands that wait to become durable. Each has a few hundred bytes, and operators are people.
pub const PENDING_UPDATES_MAX: usize = 256;
/// Longest name of a user of the host, in bytes: an e-mail address has 254 at most.
pub const USER_BYTES_MAX: usize = 256;
/// Longest password of a user, in bytes: ten times a long sentence. User and password fit into an enrolment frame with the rest.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Most attempts to enrol whose proof is being judged. Beyond it a node is told to try later. Each holds a connection, a user and
/// a password: 8 x 2 KiB; and one call of the host's authenticator, for [`Timeouts::hook`](crate::Timeouts::hook) at most.
pub const ENROL_ATTEMPTS_MAX: usize = 8;
/// Failed attempts to enrol in a row from one source that are followed by no pause: somebody mistypes.
pub const ENROL_FREE_FAILURES: u32 = 3;
/// Pause after the next failed attempt to enrol from one source. It doubles with every further one.
pub const ENROL_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause after a failed attempt to enrol: 288 guesses of a password a day.
pub const ENROL_PAUSE_MAX: Duration = Duration::from_secs(300);
/// Time without an attempt after which the failures of a source are forgotten: 1 h.
pub const ENROL_FORGET: Duration = Duration::from_secs(3600);
/// Most sources whose failures are counted each for itself: 256 x 64 bytes. Those of further sources are counted together.
pub const ENROL_SOURCES_MAX: usize = 256;
/// Most join tokens that are valid at once.
pub const TOKENS_MAX: usize = 16;
/// Longest life of a join token.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Life of a node's own certificate: 10 years. Its end raises an alert and refuses nobody, so it need not be short.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Life of a join token if the operator names none.
pub const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(15 * 60);

// The store.

/// Most bytes of a log segment, which are preallocated. A segment has as many bytes as the log had when it began, and at most a quarter
/// of the log's bound.
pub const SEGMENT_BYTES: u64 = 4 * MIB as u64;
/// Least bytes of a log segment, and those of the first.
pub const SEGMENT_BYTES_MIN: u64 = 64 * KIB as u64;
/// Bytes of a segment behind its last record to which zeros are written, so that 400 small change sets follow before a sync waits
/// for the journal of the file system again.
pub const LOG_TOUCH_BYTES: u64 = 128 * KIB as u64;
/// Least bound of the log in bytes. Above it the bound follows the size of the configuration, which a full push would send instead.
pub const LOG_BYTES_MIN: u64 = 8 * MIB as u64;
/// Bytes of log records that one system call reads or writes.
pub const LOG_STEP_BYTES: usize = 256 * KIB;
/// Bytes of log between two positions of its index: 256 MiB / 32 KiB = 8,192 positions of 56 bytes.
pub const LOG_INDEX_BYTES: u64 = 32 * KIB as u64;
/// Positions of the log's index that are chosen by number: of a log of N change sets, every N / 1,024th.
pub const LOG_INDEX_ENTRIES: u64 = 1_024;
/// Memory for pages of the state file, read and written.
pub const STATE_CACHE_BYTES: usize = 8 * MIB;
/// Memory for pages of the node file (durable state, local entries, quarantine).
pub const NODE_CACHE_BYTES: usize = MIB;
/// Most undo images that one round of maintenance removes, which takes a few milliseconds.
pub const UNDO_PRUNE_MAX: usize = 20_000;
/// Default bound of the log in change sets.
pub const LOG_CHANGES_DEFAULT: u64 = 100_000;
/// Default bound of the log in bytes.
pub const LOG_BYTES_DEFAULT: u64 = 256 * MIB as u64;
/// Memory that a change in the overlay takes beside its key and an inline value, about: its place in two maps, its hash, and
/// what the allocator adds to three small blocks.
pub const OVERLAY_CHANGE_BYTES: u64 = 320;
/// Memory of the overlay at which a checkpoint begins: 5,800 changes of 200 bytes. A change set keeps the part of the overlay that it
/// replaced until it is visible, so a node that is loaded takes several times as much.
pub const CHECKPOINT_BYTES: u64 = 3 * MIB as u64;
/// The same where nothing has changed for a while: 1,900 changes of 200 bytes. A start reads them again in some 10 ms.
pub const CHECKPOINT_IDLE_BYTES: u64 = MIB as u64;
/// Memory of the overlay at which a writer waits for the checkpoint under way: what that moves, and as much again.
pub const OVERLAY_BYTES_MAX: u64 = 2 * CHECKPOINT_BYTES;
/// Bytes of pages after which a checkpoint or a full push commits a part, not durably. redb writes pages twice that leave its cache before
/// they are committed, and half of its cache is for them.
pub const CHECKPOINT_PART_BYTES: usize = STATE_CACHE_BYTES / 4;
/// Most local entries of one node.
pub const LOCAL_ENTRIES_MAX: usize = 10_000;
/// Most change sets of a former master in quarantine.
pub const QUARANTINE_CHANGE_SETS_MAX: u64 = 100_000;

// The node's queues, threads and pauses.

/// How long a start waits by default for its listen address: longer than DHCP or a VPN takes after a boot.
pub const LISTEN_WAIT_DEFAULT: Duration = Duration::from_secs(60);
/// Longest wait for a listen address that a host may choose.
pub const LISTEN_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Pause between two attempts to listen. Two a second are cheap, and no event tells that an address has come.
pub const LISTEN_RETRY: Duration = Duration::from_millis(500);
/// Most events that one subscriber may lag behind. Beyond it, it is told that it missed some.
pub const EVENTS_MAX: usize = 1_024;
/// Most change notices that one watcher may lag behind. Beyond it, it is told to take a snapshot again.
pub const WATCH_MAX: usize = 1_024;

/// Most threads of the pool for blocking work, which all nodes of the process share. Tokio's own pool has as many.
pub const POOL_THREADS_MAX: usize = 512;
/// Most threads of that pool that look up names of peers. Each is occupied for as long as the name server takes.
pub const POOL_LOOKUPS_MAX: usize = 64;
/// Idle time after which a thread of that pool ends.
pub const POOL_IDLE: Duration = Duration::from_secs(10);
/// Most operators' commands that wait for the node, beside [`COMMIT_QUEUE_MAX`] change sets.
pub const COMMAND_QUEUE_MAX: usize = 64;
/// Most inputs of the node's own tasks (links, disk, listener) that wait for the node. Beyond it, the tasks wait.
pub const INPUTS_MAX: usize = 64;
/// Most wake-ups that are handled before the status is published: enough to share its cost, few enough to stay below 1 ms.
pub const WAKE_UPS_MAX: usize = 64;
/// Most bytes of bulk that one link has received and the store has not stored: a window, and another one for a peer that
/// counts differently. Beyond it, the link is closed.
pub const LINK_BULK_BYTES_MAX: usize = 2 * WINDOW_BYTES_MAX;
/// Bytes that a received bulk frame counts beside its content, so that empty frames are not free.
pub const BULK_OVERHEAD_BYTES: usize = 256;
/// Time for which a closed link waits for the other side to close, so that a TCP reset does not discard its last frames.
pub const LINGER: Duration = Duration::from_secs(1);
/// Time for which an address of the peer is dialled alone, before the next one is dialled beside it (RFC 8305 names 250 ms);
/// and time for which a look-up may take, before the addresses that worked last are dialled.
pub const DIAL_HEAD_START: Duration = Duration::from_millis(250);
/// Most addresses that one dial tries: both families of two names with a few addresses each.
pub const DIAL_ADDRESSES_MAX: usize = 16;
/// Most names of the peer whose last address is remembered: the one that it advertises, and the one that the host names, with
/// a change or two of each.
pub const ADDRESS_BOOK_MAX: usize = 8;
/// Interval at which the advertised addresses are looked at again while one of them cannot be dialled. A name that does not resolve is
/// asked for twice, half of this apart, before it is said.
pub const ADDRESS_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Bound on such a look-up.
pub const ADDRESS_LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest file of these names: each with an address of an IPv6 scope at most, and a line before them.
pub const ADDRESS_BOOK_BYTES_MAX: usize = ADDRESS_BOOK_MAX * (ADDRESS_BYTES_MAX + 72) + 64;
/// Least time between two writes of these addresses where no name is new: a name whose addresses take turns costs few writes.
pub const ADDRESS_BOOK_PAUSE: Duration = Duration::from_secs(60);
/// Time for an enrolment, from the first dial to the last answer, on either side.
pub const ENROL_TIMEOUT: Duration = Duration::from_secs(30);
/// First pause between two attempts of an enrolment. It doubles up to eight times this.
pub const ENROL_RETRY: Duration = Duration::from_millis(250);
/// Pause of the listener after an error (such as no free file descriptor), so that it does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Interval at which connections that were turned away are reported. The report counts them.
pub const UNPERMITTED_INTERVAL: Duration = Duration::from_secs(1);
/// First pause after the maintenance of the store failed. It doubles up to 64 times this.
pub const MAINTENANCE_PAUSE: Duration = Duration::from_millis(500);
/// Heartbeats of one connection that may be unanswered at once before the oldest is forgotten. A connection on which nothing comes is
/// lost after three.
pub const UNANSWERED_MAX: usize = 16;
/// Mismatches that a session tolerates. After one more the link is closed.
pub const MISMATCHES_MAX: u32 = 3;
/// Number of takeovers within the hold-down time that blocks the next one.
pub const HOLD_DOWN_TAKEOVERS: usize = 3;
/// Answers in a row without a promise after which an alert says that a shadow makes none.
pub const UNPROMISED_MAX: u32 = 10;
/// Results of the store that wait for the driver: two of one batch, that of one checkpoint and of one look at the directory.
pub const STORE_REPORTS_MAX: usize = 4;

/// Room that a full push needs beside its entries: a segment of the new log, and the new state without an entry.
pub const PUSH_ROOM_BASE: u64 = SEGMENT_BYTES + 2 * MIB as u64;
/// Room that each entry of a full push needs beside its key and value: its hash and length in the row, and its part of the tree.
pub const PUSH_ROOM_ENTRY: u64 = 64;

/// Bytes that must be free for a full push of so many entries, whose keys and values have so many bytes. The pages of the tree
/// are between half and completely full, and the transaction that writes them may hold a quarter more.
pub const fn room_for_push(entries: u64, bytes: u64) -> u64 {
    let rows = bytes.saturating_add(entries.saturating_mul(PUSH_ROOM_ENTRY));
    PUSH_ROOM_BASE.saturating_add(rows.saturating_add(rows / 2))
}
/// A warning about room ends when there is more than needed by this part of it, so that it does not flap.
pub const ROOM_SPARE: u64 = 8;
/// Interval at which the room on the disk is looked at. Few disks fill within it, and the look costs one system call.
pub const ROOM_INTERVAL: Duration = Duration::from_secs(30);
/// Most bytes of the keys that changed of a part of a full push that is staged already, [`RESUME_KEY_OVERHEAD_BYTES`] for each
/// included. If there are more, the full push begins again. They are in memory while it is read: a million changes of short
/// keys leave little of what was staged.
pub const RESUME_KEYS_BYTES_MAX: usize = 16 * MIB;
/// What a changed key takes in memory beside its text: its place in a set, and its allocation.
pub const RESUME_KEY_OVERHEAD_BYTES: usize = 64;
/// Buckets of the digest, by 12 bits of a key's hash.
pub const BUCKETS: usize = 4_096;
/// Bytes of a bucket's digest by which a differential repair finds out whether the bucket differs: 16 KiB for all. That one that
/// differs looks the same is as likely as 1 to 2^32; the digest of the whole finds it, and a full push follows.
pub const BASE_DIGEST_BYTES: usize = 4;
/// Most entries of the buckets that differ, on either node, for a differential repair. They are compared by 8 bytes each, which
/// is 3.2 MB of memory, and one bit of a control message: 50 KB, which delay a heartbeat by 3 s on the slowest link. With more, a
/// full push costs hardly more.
pub const COMPARED_ENTRIES_MAX: usize = 400_000;
/// Largest state file that a differential repair copies. Nothing else is written on a shadow meanwhile, so that it could not take over.
pub const COPIED_STATE_BYTES_MAX: u64 = 512 * MIB as u64;
/// Most entries that a differential repair removes: their keys are in memory at once.
pub const COMPARED_REMOVED_MAX: usize = 100_000;
/// Bytes of hashes in one item of a differential repair.
pub const HASHES_BYTES: usize = 64 * KIB;
/// Dials with a small TLS hello after a large one was not answered. Then a large one is tried again, so that one lost packet does
/// not keep a pair from the post-quantum key exchange for ever.
pub const SMALL_HELLOS: u32 = 8;
/// Connections in a row that break after a large TLS hello and before an answer, and so count as not answered: a restart of the peer
/// breaks one that it had not accepted, and perhaps one more.
pub const BROKEN_HELLOS: u32 = 3;
/// Looks at the data directory within a takeover delay. One that is gone is found after half of that, and a slow disk has the other
/// half for its answer.
pub const DIRECTORY_LOOKS: u32 = 2;
/// Interval at which the ends of certificates are checked.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(24 * 3600);
/// Days before the end of a certificate at which a node renews it, with its key, over the live link.
pub const CERTIFICATE_RENEW_DAYS: u64 = 90;
/// Days before the end of a certificate at which an alert is raised: it could not be renewed since [`CERTIFICATE_RENEW_DAYS`].
pub const CERTIFICATE_WARN_DAYS: u64 = 30;
/// Most pushes that wait in one link. The engine asks for one at a time, so more are a defect and close the link.
pub const LINK_PUSHES_MAX: usize = 8;
/// Largest identity file that is read. Two keys and two certificates have a tenth of that.
pub const IDENTITY_BYTES_MAX: usize = 64 * KIB;

// The audit log.

/// Bytes of `audit.log` at which it becomes `audit.log.1`: with 300 bytes a line, the two hold some 7,000 lines.
pub const AUDIT_BYTES_MAX: u64 = MIB as u64;
/// Longest text of a field of a line, in bytes. Longer ones are cut. What a peer or a host chooses (a reason, a path) is no longer.
pub const AUDIT_TEXT_BYTES_MAX: usize = 512;
/// Most lines that wait for the disk. Beyond it, lines are lost and counted: 256 lines of at most 4 KiB are 1 MiB of memory.
pub const AUDIT_QUEUE_MAX: usize = 256;
/// Lines that strangers, or the peer, may cause at once. Those beyond it are counted in the next one.
pub const AUDIT_OUTSIDE_MAX: u64 = 16;
/// Time after which they may cause one more: 144 lines a day, so that what operators did stays for a month at the least.
pub const AUDIT_OUTSIDE_INTERVAL: Duration = Duration::from_secs(600);

// The witness.

/// Longest record at the witness. One of format 1 has at most 4 magic + 4 checksum + 2 format + 16 pair + 32 holder + 9 epoch +
/// 9 lease + 33 in sync + 18 revision + 9 counter = 136 bytes. The rest is room to recognise a newer format.
pub const WITNESS_BYTES_MAX: usize = KIB;
/// Most requests to one file witness that are under way: the one that counts, and one that hangs. Each occupies a thread.
pub const WITNESS_FILE_REQUESTS_MAX: usize = 2;
/// Most names in the directory of a file witness. It holds two records, and a temporary file per writer and per crash
/// within [`WITNESS_FILE_TEMPORARY_AGE`]. A directory with more is not one of a witness, and is not read.
pub const WITNESS_FILE_NAMES_MAX: usize = 4_096;
/// Records that a file witness keeps: the current one, and the one before it for a reader that is about to read it.
pub const WITNESS_FILE_RECORDS_KEPT: usize = 2;
/// Most files that one swap cleans up. A swap leaves at most one behind, so 16 catch up with any past.
pub const WITNESS_FILE_CLEANED_MAX: usize = 16;
/// Age, by the file system's clock, at which a temporary file is removed because its writer must have crashed. A writer
/// that was only that slow does not find its file and reports an unknown outcome.
pub const WITNESS_FILE_TEMPORARY_AGE: Duration = Duration::from_secs(3600);
/// Most attempts to read the record of a file witness. One more is needed whenever the register was swapped twice between
/// the listing and the read.
pub const WITNESS_FILE_READS_MAX: usize = 8;

/// The limit that a caller's input exceeds. Nothing was changed.
///
/// ```
/// use shadowpair::{Key, Limit};
/// assert_eq!(Key::new(""), Err(Limit::KeyEmpty));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limit {
    /// The key is empty.
    #[error("a key must not be empty")]
    KeyEmpty,
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("a key has at most {KEY_BYTES_MAX} bytes, this one has {bytes}")]
    KeyTooLong {
        /// Length of the key.
        bytes: usize,
    },
    /// The value is longer than [`VALUE_BYTES_MAX`].
    #[error("a value has at most {VALUE_BYTES_MAX} bytes, this one has {bytes}")]
    ValueTooLarge {
        /// Length of the value.
        bytes: usize,
    },
    /// The value cannot be written as JSON. (A map whose keys are no text cannot, for example.)
    #[error("the value cannot be written as JSON")]
    NotJson,
    /// The change set has more than [`CHANGES_MAX`] changes.
    #[error("a change set has at most {CHANGES_MAX} changes, this one has {changes}")]
    TooManyChanges {
        /// Number of changes.
        changes: usize,
    },
    /// The change set has more than [`GUARDS_MAX`] guards.
    #[error("a change set has at most {GUARDS_MAX} guards, this one has {guards}")]
    TooManyGuards {
        /// Number of guards.
        guards: usize,
    },
    /// The change set is larger than [`CHANGE_SET_BYTES_MAX`].
    #[error("a change set has at most {CHANGE_SET_BYTES_MAX} bytes, this one has {bytes}")]
    ChangeSetTooLarge {
        /// Bytes of keys and values.
        bytes: usize,
    },
    /// The change set has no change.
    #[error("a change set needs at least one change")]
    NoChanges,
    /// The node has [`LOCAL_ENTRIES_MAX`] local entries already.
    #[error("a node has at most {LOCAL_ENTRIES_MAX} local entries")]
    TooManyLocalEntries,
}
