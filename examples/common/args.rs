//! The command line.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, ValueEnum};
use shadowpair::{
    Builder, Failover, FileWitness, FirstStart, Handover, KeyExchange, KeyId, Node, Options, ParseTokenError,
    Replication,
};

use super::users;

/// What a data directory without a node becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each program uses one of them")]
pub enum FirstRole {
    Master,
    Shadow,
}

/// The first master of a pair. After its first start the data directory knows its role, and the same command line is
/// right whatever happened.
#[derive(Parser)]
#[command(name = "master", version)]
struct MasterArgs {
    /// Make a new pair also in an existing directory without a node. Say it once, where no node was lost.
    #[arg(long)]
    new_pair: bool,
    #[command(flatten)]
    common: CommonArgs,
}

/// The shadow of a master. After its first start the data directory knows its role, and the same command line is
/// right whatever happened.
#[derive(Parser)]
#[command(name = "shadow", version)]
struct ShadowArgs {
    #[command(flatten)]
    join: JoinArgs,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Args)]
struct JoinArgs {
    /// Where the master is; needed at the first start, tried beside the learnt address afterwards.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    master: Option<String>,
    /// The join token that `token` printed on the master.
    #[arg(long, conflicts_with = "token_file")]
    token: Option<String>,
    /// A file that holds the join token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The fingerprint of the master, as its `status` shows it: for `--user`, instead of a token.
    #[arg(long, value_name = "HEX", requires = "user", conflicts_with_all = ["token", "token_file"])]
    fingerprint: Option<String>,
    /// A user who may enrol a shadow.
    #[arg(long, value_name = "NAME", requires = "fingerprint")]
    user: Option<String>,
    /// A file that holds the user's password [default: the environment variable SHADOWPAIR_PASSWORD].
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

#[derive(Args)]
struct UsersArgs {
    /// A file of users who may enrol a shadow when this node is master.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Add a user to the file of `--users`, with the password in SHADOWPAIR_PASSWORD, and start nothing.
    #[arg(long, value_name = "NAME", requires = "users")]
    add_user: Option<String>,
}

#[derive(Args)]
struct CommonArgs {
    /// The data directory. A master makes a new pair where it does not exist.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    network: NetworkArgs,
    /// One JSON object per line on standard output (the default when it is not a terminal).
    #[arg(long)]
    json: bool,
    /// Interval of heartbeats [default: 1s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    heartbeat: Option<Duration>,
    /// Silence after which the shadow takes over [default: 5s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    takeover_delay: Option<Duration>,
    /// Who decides on a takeover.
    #[arg(long, value_enum, default_value_t = FailoverArg::Automatic)]
    failover: FailoverArg,
    /// Limits flapping; 0s turns it off [default: 10m].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    hold_down: Option<Duration>,
    /// The third vote, the same for both nodes: a directory that both reach.
    #[arg(long, value_name = "file:PATH", value_parser = witness)]
    witness: Option<PathBuf>,
    /// Mastership that neither peer nor witness renews lasts this long, where there is a witness [default: seven tenths of the takeover delay].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    lease: Option<Duration>,
    /// Whether a change waits for the shadow.
    #[arg(long, value_enum, default_value_t = ReplicationArg::Async)]
    replication: ReplicationArg,
    /// Whether a clean shutdown of a master hands over to its shadow.
    #[arg(long, value_enum, default_value_t = HandoverArg::On)]
    handover: HandoverArg,
    #[command(flatten)]
    timeouts: TimeoutArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    users: UsersArgs,
    /// Shown in status.
    #[arg(long, default_value = "")]
    name: String,
}

#[derive(Args)]
struct NetworkArgs {
    /// Where to listen [default: 127.0.0.1:7443 for master, 127.0.0.1:7444 for shadow].
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    listen: Option<String>,
    /// How long a start waits for an address that is not there yet; 0s turns it off [default: 60s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    listen_wait: Option<Duration>,
    /// Where the peer dials [default: --listen].
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    advertise: Option<String>,
    /// Whether links must withstand a quantum computer of later: `prefer` falls back to the classical key exchange where a router
    /// drops the large hello.
    #[arg(long, value_enum, default_value_t = KeyExchangeArg::Prefer)]
    key_exchange: KeyExchangeArg,
    /// Answer only peers from this host name or address range; may be given several times.
    #[arg(long, value_name = "HOST_OR_CIDR")]
    permit: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyExchangeArg {
    Prefer,
    Only,
    Classical,
}

#[derive(Clone, Copy, ValueEnum)]
enum HandoverArg {
    On,
    Off,
}

#[derive(Args)]
struct TimeoutArgs {
    /// How long a program has before its mastership ends by plan [default: 0s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,
    /// How long a change waits for the shadow in sync [default: 2s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    sync_timeout: Option<Duration>,
    /// A master whose disk does not answer for so long lets its shadow take over; 0s turns it off [default: three takeover
    /// delays, at least 10s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    disk_timeout: Option<Duration>,
}

#[derive(Args)]
struct LogArgs {
    /// Bound of the incremental log in change sets.
    #[arg(long, value_name = "N")]
    log_changes: Option<u64>,
    /// Bound of the incremental log in bytes.
    #[arg(long, value_name = "N")]
    log_bytes: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailoverArg {
    Manual,
    Automatic,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReplicationArg {
    Async,
    Sync,
}

/// What the command line asks for.
pub struct Request {
    /// Makes the node.
    pub builder: Builder,
    /// The data directory, for messages.
    pub data: PathBuf,
    /// Whether the output is JSON.
    pub json: bool,
    /// What `status` reports of these options.
    pub chosen: Chosen,
    /// Why a first start is impossible, if the directory is empty.
    pub no_first_start: NoFirstStart,
}

/// Why the command line names no first start.
#[derive(Default)]
pub struct NoFirstStart {
    /// The exit code: 1 for a mistyped token, as for a refused one; 2 for a bad command line.
    pub code: u8,
    pub why: String,
}

/// Options that the node's own status does not show.
#[derive(Clone, Copy)]
pub struct Chosen {
    /// Who decides on a takeover.
    pub failover: &'static str,
}

/// Why the command line starts no node.
pub enum NoStart {
    /// `--help` or `--version` was answered.
    Answered,
    /// It is bad: one line that says why.
    Bad(String),
}

/// Reads the command line. Answers `--help`.
pub fn read(first: FirstRole) -> Result<Request, NoStart> {
    let asked = match first {
        FirstRole::Master => MasterArgs::try_parse().map(|args| {
            let first = if args.new_pair { FirstArgs::NewPair } else { FirstArgs::Master };
            (MasterArgs::command(), first, args.common)
        }),
        FirstRole::Shadow => {
            ShadowArgs::try_parse().map(|args| (ShadowArgs::command(), FirstArgs::Join(args.join), args.common))
        }
    };
    let (mut command, first, common) = asked.map_err(|error| no_start(&error))?;
    if let UsersArgs { users: Some(file), add_user: Some(user) } = &common.users {
        let added = users::password(None).and_then(|password| users::add(file, user, &password));
        return Err(added.map_or_else(NoStart::Bad, |()| NoStart::Answered));
    }
    request(first, common).map_err(|(kind, message)| no_start(&command.error(kind, message)))
}

fn no_start(error: &clap::Error) -> NoStart {
    match error.use_stderr() {
        // One line, as for every other failure.
        true => NoStart::Bad(error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")),
        false => {
            _ = error.print();
            NoStart::Answered
        }
    }
}

type BadArgument = (ErrorKind, String);

/// The first start that the command line names.
enum FirstArgs {
    Master,
    NewPair,
    Join(JoinArgs),
}

fn request(first: FirstArgs, common: CommonArgs) -> Result<Request, BadArgument> {
    let options = options(&common)?;
    let chosen = Chosen { failover: if common.failover == FailoverArg::Manual { "manual" } else { "automatic" } };
    let json = common.json || !std::io::IsTerminal::is_terminal(&std::io::stdout());
    let default_listen = if matches!(first, FirstArgs::Join(_)) { "127.0.0.1:7444" } else { "127.0.0.1:7443" };
    let mut builder = Node::builder(&common.data)
        .options(options)
        .listen(common.network.listen.unwrap_or_else(|| default_listen.into()))
        .permit(common.network.permit)
        .key_exchange(match common.network.key_exchange {
            KeyExchangeArg::Prefer => KeyExchange::PreferPostQuantum,
            KeyExchangeArg::Only => KeyExchange::PostQuantumOnly,
            KeyExchangeArg::Classical => KeyExchange::Classical,
        });
    if let Some(file) = common.users.users {
        builder = builder.authenticate(move |user, password| users::knows(file.clone(), user, password));
    }
    if let Some(wait) = common.network.listen_wait {
        builder = builder.listen_wait(wait);
    }
    if let Some(address) = common.network.advertise {
        builder = builder.advertise(address);
    }
    if let Some(dir) = common.witness {
        builder = builder.witness(Arc::new(FileWitness::new(dir)));
    }
    let mut no_first_start = NoFirstStart::default();
    match first {
        FirstArgs::Master => builder = builder.first_start(FirstStart::Master),
        FirstArgs::NewPair => builder = builder.first_start(FirstStart::NewPair),
        FirstArgs::Join(join) => {
            if let Some(master) = &join.master {
                builder = builder.master_address(master);
            }
            match first_join(join) {
                Ok(first) => builder = builder.first_start(first),
                // Only an empty directory needs it. Later starts use the same command line when the token file is gone.
                Err(why) => no_first_start = why,
            }
        }
    }
    Ok(Request { builder, data: common.data, json, chosen, no_first_start })
}

fn options(common: &CommonArgs) -> Result<Options, BadArgument> {
    let mut options = Options::default();
    options.heartbeat = common.heartbeat.unwrap_or(options.heartbeat);
    options.takeover_delay = common.takeover_delay.unwrap_or(options.takeover_delay);
    options.hold_down = common.hold_down.unwrap_or(options.hold_down);
    options.log.changes = common.log.log_changes.unwrap_or(options.log.changes);
    options.log.bytes = common.log.log_bytes.unwrap_or(options.log.bytes);
    options.failover = match common.failover {
        FailoverArg::Manual => Failover::Manual,
        FailoverArg::Automatic => Failover::Automatic,
    };
    options.replication = match common.replication {
        ReplicationArg::Async => Replication::Asynchronous,
        ReplicationArg::Sync => Replication::Synchronous,
    };
    options.timeouts.sync = common.timeouts.sync_timeout.unwrap_or(options.timeouts.sync);
    options.timeouts.disk = common.timeouts.disk_timeout;
    options.timeouts.grace = common.timeouts.grace.unwrap_or(options.timeouts.grace);
    options.handover = match common.handover {
        HandoverArg::On => Handover::WhenInSync,
        HandoverArg::Off => Handover::Never,
    };
    options.lease = common.lease;
    options.name = common.name.clone();
    options.validate().map_err(|rule| (ErrorKind::ValueValidation, rule.to_string()))?;
    Ok(options)
}

/// The first start of an empty directory, or why it is impossible.
fn first_join(join: JoinArgs) -> Result<FirstStart, NoFirstStart> {
    let missing = |why: &str| NoFirstStart { code: 2, why: why.into() };
    let master = join.master.ok_or_else(|| missing("--master HOST:PORT is missing"))?;
    if let (Some(fingerprint), Some(user)) = (join.fingerprint, join.user) {
        let fingerprint = KeyId::parse(fingerprint.trim()).ok_or_else(|| missing("a fingerprint has 64 digits"))?;
        let password = users::password(join.password_file.as_deref()).map_err(|why| missing(&why))?;
        return Ok(FirstStart::JoinAsUser { master, fingerprint, user, password });
    }
    let text = match (join.token, join.token_file) {
        (Some(token), _) => token,
        (None, Some(file)) => std::fs::read_to_string(&file).map_err(|e| unreadable_token(&file, &e))?,
        (None, None) => {
            return Err(missing("--token TOKEN, --token-file FILE, or --fingerprint HEX with --user NAME is missing"));
        }
    };
    match text.trim().parse() {
        Ok(token) => Ok(FirstStart::Join { master, token }),
        Err(e @ ParseTokenError::Checksum) => Err(NoFirstStart { code: 1, why: e.to_string() }),
        Err(e) => Err(missing(&e.to_string())),
    }
}

/// Why the file with the token cannot be read, and the command that mends it where this user may not.
fn unreadable_token(file: &Path, error: &std::io::Error) -> NoFirstStart {
    let why = format!("{} cannot be read: {error}", file.display());
    if error.kind() != std::io::ErrorKind::PermissionDenied {
        return NoFirstStart { code: 2, why };
    }
    let me = rustix::process::geteuid().as_raw();
    let whose =
        std::fs::metadata(file).map(|of| format!(": it belongs to uid {} (mode {:04o})", of.uid(), of.mode() & 0o7777));
    let whose = whose.unwrap_or_default();
    let why = format!("{why}{whose}, and this process runs as uid {me}: `chown {me} {}` mends it", file.display());
    NoFirstStart { code: 1, why }
}

/// Parses `file:PATH`. Whether it can be reached shows later.
fn witness(text: &str) -> Result<PathBuf, String> {
    match text.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Ok(path.into()),
        _ => Err("not_supported: file:PATH is expected, a directory that both nodes reach".into()),
    }
}

/// Parses `HOST:PORT`. Whether the host exists shows later.
fn address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("HOST:PORT is expected")?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err("HOST:PORT is expected".into());
    }
    Ok(text.into())
}
