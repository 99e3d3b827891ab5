//! Runs a node: reads its input, prints its output, and ends it.

use std::process::ExitCode;
use std::time::Duration;

use shadowpair::{EnrolError, Events, LinkState, NewPairRefused, Node, NodeEvent, Role, StartError, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::args::{self, FirstRole, NoFirstStart, NoStart, Request};
use super::commands::{Command, parse};
use super::input::{LINE_BYTES_MAX, Line, read_lines};
use super::log::Log;
use super::output::{Event, Printer, Refusal, Reply};
use super::session::Session;
use super::signals::Signals;
use super::view;

/// How long `started` waits for a node that is about to serve.
const SERVING_WAIT_MAX: Duration = Duration::from_secs(2);
/// Longest wait for the last answers, and for the last lines to be written.
const SHUTDOWN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Runs the program. `work` is what the host does besides its commands. It ends when the node stops.
pub fn main<W>(first: FirstRole, work: impl FnOnce(Node, Printer) -> W) -> ExitCode
where
    W: Future<Output = ()> + Send + 'static,
{
    // Without a thread for the log there is none for the node either, and nowhere to say so.
    let Ok(log) = Log::start() else { return ExitCode::FAILURE };
    let ended = match args::read(first) {
        Ok(request) => run_until_end(request, work),
        Err(NoStart::Answered) => Ok(()),
        Err(NoStart::Bad(line)) => Err(Failure { code: 2, line }),
    };
    let (code, last) = match ended {
        Ok(()) => (ExitCode::SUCCESS, None),
        Err(Failure { code, line }) => (ExitCode::from(code), Some(line)),
    };
    log.finish(last.as_deref());
    code
}

fn run_until_end<W>(request: Request, work: impl FnOnce(Node, Printer) -> W) -> Result<(), Failure>
where
    W: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(because("the runtime could not be started"))?;
    let ended = runtime.block_on(run(request, work));
    // A thread that hangs in a file system must not keep the process.
    runtime.shutdown_background();
    ended
}

/// How the program fails: an exit code, and a line that says what to do.
struct Failure {
    code: u8,
    line: String,
}

fn because(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |e| Failure { code: 1, line: format!("{what}: {e}") }
}

/// Why the program ends.
enum End {
    /// `quit`, end of input or a signal.
    Requested,
    /// The node stopped by itself.
    NodeStopped,
}

async fn run<W>(request: Request, work: impl FnOnce(Node, Printer) -> W) -> Result<(), Failure>
where
    W: Future<Output = ()> + Send + 'static,
{
    let mut signals = Signals::listen().map_err(because("signals cannot be listened for"))?;
    let Request { builder, data, json, chosen, no_first_start } = request;
    let node = tokio::select! {
        node = builder.start() => node.map_err(|e| start_failed(e, &data.display().to_string(), &no_first_start))?,
        () = signals.end() => return Ok(()),
    };
    wait_until_serving(&node).await;
    let events = node.events();
    let (printer, writer) = Printer::start(json).map_err(because("the output could not be started"))?;
    printer.print(view::started(&node.status(), chosen));
    let mut pump = tokio::spawn(print_events(events, printer.clone()));
    let mut work = tokio::spawn(work(node.clone(), printer.clone()));
    let (stop, stopping) = oneshot::channel();
    let session = Session::new(node.clone(), chosen);
    let mut commands = tokio::spawn(execute_lines(session, read_lines(), stopping, printer.clone()));
    let end = tokio::select! {
        _ = &mut commands => End::Requested,
        () = signals.end() => End::Requested,
        _ = &mut pump => End::NodeStopped,
    };
    node.shutdown().await;
    drop(stop);
    // A command under way is answered first; by now the node refuses it. Tasks that hang are abandoned.
    _ = tokio::time::timeout(SHUTDOWN_WAIT_MAX, async {
        _ = (&mut work).await;
        if !commands.is_finished() {
            _ = tokio::time::timeout(SHUTDOWN_WAIT_MAX / 2, &mut commands).await;
        }
        if !pump.is_finished() {
            _ = (&mut pump).await;
        }
    })
    .await;
    work.abort();
    commands.abort();
    pump.abort();
    printer.print(Event::Stopped {});
    writer.finish(SHUTDOWN_WAIT_MAX);
    match end {
        End::Requested => Ok(()),
        End::NodeStopped => Err(Failure {
            code: 1,
            line: "the node stopped by itself: see the log (RUST_LOG=info), then start it again".into(),
        }),
    }
}

/// Waits for a master without a shadow, which serves as soon as its first era is durable, so that commands may follow `started` at
/// once. A master with a shadow asks it first, which can take long; a `role` event follows then.
async fn wait_until_serving(node: &Node) {
    let mut status = node.status_watch();
    let settled = status.wait_for(|status| {
        let engine = &status.engine;
        engine.serving || engine.role == Role::Shadow || engine.link.state != LinkState::None
    });
    _ = tokio::time::timeout(SERVING_WAIT_MAX, settled).await;
}

async fn print_events(mut events: Events, printer: Printer) {
    while let Some(event) = events.next().await {
        if let NodeEvent::Stopped = event {
            return;
        }
        if let Some(event) = view::event(event) {
            printer.print(event);
        }
    }
}

/// Executes lines until `quit`, the end of input, or `stopping` is dropped. A command under way is answered first.
async fn execute_lines(
    mut session: Session,
    mut lines: mpsc::Receiver<Line>,
    mut stopping: oneshot::Receiver<()>,
    printer: Printer,
) {
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = &mut stopping => None,
        };
        let Some(line) = line else { return };
        let (name, command) = match &line {
            Line::Whole(line) => parse(line),
            Line::TooLong(start) => {
                let message = format!("a line has at most {LINE_BYTES_MAX} bytes");
                (parse(start).0, Err(Refusal::new("too_large", message)))
            }
        };
        drop(line);
        let quit = matches!(command, Ok(Command::Quit));
        let outcome = match command {
            Ok(command) => session.execute(command).await,
            Err(refusal) => Err(refusal),
        };
        printer.reply(Reply::new(name, outcome)).await;
        if quit {
            return;
        }
    }
}

fn start_failed(error: StartError, data: &str, no_first_start: &NoFirstStart) -> Failure {
    let (code, what_to_do) = match &error {
        StartError::FirstStartMissing => {
            let NoFirstStart { code, why } = no_first_start;
            let line = format!(
                "{data} holds no node yet, and a first start is not possible: {why}: say `token` on the master, and \
                 give its address and the token"
            );
            return Failure { code: *code, line };
        }
        StartError::NewPairRefused { why: NewPairRefused::Remains, .. } => {
            (1, "restore the directory from a copy, or move it away and enrol this node again as a shadow")
        }
        StartError::NewPairRefused { .. } => (
            1,
            "mount the volume or restore the directory and start again; where its content is lost, enrol this node as the shadow of \
             its peer; say --new-pair only where a new pair is meant",
        ),
        StartError::Options(_) | StartError::Permit(_) => (2, "see --help"),
        StartError::Undialable(_) => (2, "see --advertise and --master"),
        StartError::MasterUnreachable { .. } => (1, "see that it runs and can be reached from here, then start again"),
        StartError::Enrol(EnrolError::WrongMaster) => {
            (1, "check --master, or say `token` on that master for a new one")
        }
        StartError::Enrol(_) => (
            1,
            "say `enable` and `token` on the master, then start again with the new token (if this node ran before, its data directory is \
             not what it was: see that its volume is mounted)",
        ),
        StartError::Store(StoreError::Locked(_)) => (1, "stop that process, or choose another --data"),
        StartError::Store(StoreError::Newer { .. }) => (1, "start it with the version that wrote it"),
        StartError::Store(StoreError::Denied { .. }) => (1, "then start again as that user"),
        StartError::Store(_) => (1, "see to the disk, or replace this node by a new one"),
        StartError::Identity(_) => (1, "restore the node's files, or replace this node by a new one"),
        StartError::Listen { .. } => (
            1,
            "choose another --listen, stop the process that uses it, or see to the interface that has it (--listen-wait waits longer)",
        ),
        _ => (1, "see the log (RUST_LOG=info)"),
    };
    Failure { code, line: format!("{error}: {what_to_do}") }
}
