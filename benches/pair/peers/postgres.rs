//! PostgreSQL with one synchronous standby that has applied a change before it is answered, over TLS, driven by its own `pgbench` and `psql`.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Server, installed, search_path, until};
use crate::bench::{Bench, VALUE_BYTES};
use crate::figures::Latencies;
use crate::process::free_address;
use crate::tls::Authority;

const CONFIGURATION: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
ssl = on
ssl_cert_file = 'cert.pem'
ssl_key_file = 'key.pem'
max_connections = 100
synchronous_commit = remote_apply
synchronous_standby_names = '*'
";
const TABLE: &str = "CREATE TABLE entries (key text PRIMARY KEY, value text)";

pub fn measure(bench: &mut Bench) {
    let Some(postgres) = Postgres::start(bench.dir()) else {
        println!("PostgreSQL is not installed");
        return;
    };
    let mut commits = |name: &str, milliseconds: u64, callers: u64, keys: u64, per_set: u64| {
        let seconds = bench.scaled(milliseconds).div_ceil(1_000);
        let latencies = postgres.run(callers, keys, per_set, seconds);
        bench.figures.add_latencies(&format!("postgres.{name}"), &latencies);
    };
    commits("sync", 15_000, 1, 10_000, 1);
    commits("callers.hot", 8_000, 64, 1_000, 1);
    commits("set", 8_000, 1, 10_000, 100);
    let entries = bench.entries();
    bench.figures.add("postgres.load", postgres.load(entries));
    let latencies = postgres.run(64, entries, 1, bench.scaled(8_000).div_ceil(1_000));
    bench.figures.add_latencies("postgres.callers.random", &latencies);
    bench.figures.add("postgres.push", postgres.full_copy());
}

/// A primary and its standby.
struct Postgres {
    programs: PathBuf,
    dir: TempDir,
    user: User,
    port: String,
    _primary: Server,
    _standby: Option<Server>,
}

/// Whom the servers run as: they refuse to run as root.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
    is_other: bool,
}

impl Postgres {
    /// `None` where it is not installed.
    fn start(dir: &Path) -> Option<Self> {
        let programs = programs()?;
        let user = User::for_servers(dir)?;
        let dir = tempfile::tempdir_in(dir).unwrap();
        user.let_in(dir.path());
        let port = port();
        let data = dir.path().join("primary");
        let data_text = data.to_str().expect("a plain path");
        run(&mut command(&programs, user, "initdb", &port, &["-D", data_text, "-U", "bench", "-A", "trust"]));
        Authority::new().write_to(&data);
        for name in ["cert.pem", "key.pem"] {
            user.own(&data.join(name));
        }
        let mut configuration = std::fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
        configuration.write_all(CONFIGURATION.as_bytes()).unwrap();
        let primary = serve(&programs, user, &port, &data);
        let mut postgres = Self { programs, dir, user, port, _primary: primary, _standby: None };
        until("PostgreSQL", || postgres.try_query("SELECT 1").is_some());
        postgres._standby = Some(postgres.copy("standby", 1).0);
        postgres.query(TABLE);
        Some(postgres)
    }

    /// A new standby with a copy of everything, which is then the so many-th that follows. Returns the seconds that took.
    fn copy(&self, name: &str, standbys: u32) -> (Server, f64) {
        let (data, begun) = (self.dir.path().join(name), Instant::now());
        let arguments = ["-D", data.to_str().expect("a plain path"), "-R", "-X", "stream", "-c", "fast"];
        run(&mut self.command("pg_basebackup", &arguments));
        let standby = serve(&self.programs, self.user, &port(), &data);
        let following = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn = sent_lsn";
        until("the standby", || self.query(following) == standbys.to_string());
        (standby, begun.elapsed().as_secs_f64())
    }

    fn full_copy(&self) -> f64 {
        self.copy("copy", 2).1
    }

    /// Sets keys at random. Several in one statement are neighbours, since a statement must not set a key twice.
    fn run(&self, callers: u64, keys: u64, per_set: u64, seconds: u64) -> Latencies {
        let logs = self.dir.path().join("logs");
        std::fs::create_dir_all(&logs).unwrap();
        self.user.own(&logs);
        let script = self.dir.path().join("script.sql");
        std::fs::write(&script, statement(keys, per_set)).unwrap();
        let (callers, seconds_text) = (callers.to_string(), seconds.to_string());
        let prefix = logs.join("log");
        let (script, prefix) = (script.to_str().expect("plain"), prefix.to_str().expect("plain"));
        let arguments = ["-n", "-M", "prepared", "-f", script, "-c", &callers, "-j", "2", "-T", &seconds_text, "-l"];
        run(self.command("pgbench", &arguments).args(["--log-prefix", prefix, "postgres"]));
        let mut times = Vec::new();
        for log in std::fs::read_dir(&logs).unwrap() {
            let text = std::fs::read_to_string(log.unwrap().path()).unwrap();
            // Caller, number, microseconds, and what is of no interest here.
            let micros = text.lines().filter_map(|line| line.split(' ').nth(2)?.parse().ok());
            times.extend(micros.map(Duration::from_micros));
        }
        std::fs::remove_dir_all(logs).unwrap();
        Latencies::of(times, Duration::from_secs(seconds))
    }

    /// A new table in transactions of 1,000 rows.
    fn load(&self, entries: u64) -> f64 {
        self.query("TRUNCATE entries");
        let mut psql = self.command("psql", &["-q", "postgres"]).stdin(Stdio::piped()).spawn().unwrap();
        let (mut input, begun) = (std::io::BufWriter::new(psql.stdin.take().expect("piped")), Instant::now());
        for first in (0..entries).step_by(1_000) {
            writeln!(input, "COPY entries FROM STDIN;").unwrap();
            for number in first..entries.min(first + 1_000) {
                writeln!(input, "key/{number:08}\t{}", "v".repeat(VALUE_BYTES)).unwrap();
            }
            writeln!(input, "\\.").unwrap();
        }
        drop(input);
        assert!(psql.wait().unwrap().success());
        begun.elapsed().as_secs_f64()
    }

    fn query(&self, query: &str) -> String {
        self.try_query(query).unwrap_or_else(|| panic!("PostgreSQL refuses: {query}"))
    }

    fn try_query(&self, query: &str) -> Option<String> {
        let output = self.command("psql", &["-qtAc", query, "postgres"]).stderr(Stdio::null()).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        command(&self.programs, self.user, program, &self.port, arguments)
    }
}

/// The folder of the programs: Debian keeps the servers out of the search path.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    let pgbench = installed(debian.chain(search_path()), "pgbench")?;
    pgbench.parent().map(Path::to_owned).filter(|folder| folder.join("initdb").exists())
}

fn command(programs: &Path, user: User, program: &str, port: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(programs.join(program));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).current_dir("/");
    if user.is_other {
        command.uid(user.uid).gid(user.gid);
    }
    // The home of the user who runs this is not theirs.
    command
        .env_remove("HOME")
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", port)
        .env("PGUSER", "bench")
        .env("PGSSLMODE", "require");
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn serve(programs: &Path, user: User, port: &str, data: &Path) -> Server {
    let data = data.to_str().expect("a plain path");
    let mut command = command(programs, user, "postgres", port, &["-D", data, "-p", port]);
    Server::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

fn port() -> String {
    free_address().rsplit(':').next().expect("a port").to_owned()
}

fn statement(keys: u64, per_set: u64) -> String {
    let row = |offset: u64| format!("('key/' || lpad((:n + {offset})::text, 8, '0'), '{}')", "v".repeat(VALUE_BYTES));
    let rows: Vec<String> = (0..per_set).map(row).collect();
    format!(
        "\\set n random(0, {})\nINSERT INTO entries VALUES {} ON CONFLICT (key) DO UPDATE SET value = excluded.value;\n",
        keys - per_set,
        rows.join(", ")
    )
}

impl User {
    /// Who owns `dir`; where that is root, the user of the Debian package.
    fn for_servers(dir: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(dir).ok()?;
        if metadata.uid() != 0 {
            return Some(Self { uid: metadata.uid(), gid: metadata.gid(), is_other: false });
        }
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        let mut fields = users.lines().find_map(|line| line.strip_prefix("postgres:"))?.split(':').skip(1);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { uid, gid, is_other: true })
    }

    fn own(self, path: &Path) {
        if self.is_other {
            chown(path, Some(self.uid), Some(self.gid)).unwrap();
        }
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Gives it a directory, and the way there.
    fn let_in(self, dir: &Path) {
        self.own(dir);
        if let Some(above) = dir.parent().filter(|_| self.is_other) {
            std::fs::set_permissions(above, std::fs::Permissions::from_mode(0o711)).unwrap();
        }
    }
}
