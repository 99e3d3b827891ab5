//! Two programs, a directory each, and a wire between them.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{Launch, Program, Proxy, Witness};

/// Timings with which a takeover takes half a second.
pub const FAST: &[&str] = &["--heartbeat", "100ms", "--takeover-delay", "500ms", "--hold-down", "0s"];

/// An enrolled pair. Its first node was started as `master`, its second as `shadow`; each is dialled through its own
/// wire.
pub struct Pair {
    pub nodes: [Program; 2],
    /// What leads to each of them.
    pub wires: [Proxy; 2],
    dir: TempDir,
}

impl Pair {
    /// Enrols a pair with these options on both sides and waits until it is in sync.
    pub fn enrol(options: &[&str]) -> Self {
        let mut pair = Self::enrolling(options);
        pair.in_sync();
        pair
    }

    /// The same with a witness, synchronous, of these programs.
    pub fn witnessed(witness: &Witness, programs: [&'static str; 2]) -> Self {
        let options = witness.options();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut pair = Self::enrolling_as(programs, &options);
        pair.in_sync();
        pair
    }

    /// Without the wait.
    pub fn enrolling(options: &[&str]) -> Self {
        Self::enrolling_as(["master", "shadow"], options)
    }

    fn enrolling_as(programs: [&'static str; 2], options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let wires = [Proxy::new(), Proxy::new()];
        let mut first = at(programs[0], &dir.path().join("first"), &wires[0], options).start();
        wires[0].leads_to(&first.listen());
        first.serving();
        let token = token(&mut first);
        let join = ["--master", &wires[0].address(), "--token", &token];
        let second = at(programs[1], &dir.path().join("second"), &wires[1], options).with(join).start();
        wires[1].leads_to(&second.listen());
        Self { nodes: [first, second], wires, dir }
    }

    /// The directory that holds both data directories, `first` and `second`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until both hold the same at the same position, and both say so. Returns what they hold.
    pub fn in_sync(&mut self) -> Value {
        loop {
            for node in &mut self.nodes {
                node.status("the pair to be in sync", |status| {
                    status["in_sync"] == true && status["link"]["state"] == "connected"
                });
            }
            let [one, other] = self.nodes.each_mut().map(|node| node.ok("digest"));
            // A change or a takeover between the two answers is no difference: ask again.
            if one["revision"] == other["revision"] {
                self.nodes[0].check(one["digest"] == other["digest"], "same position, different content");
                self.nodes[0].check(one["entries"] == other["entries"], "same digest, different number of entries");
                return content(&one);
            }
        }
    }

    /// Cuts the wire both ways.
    pub fn cut(&self) {
        self.wires.iter().for_each(Proxy::cut);
    }

    pub fn heal(&self) {
        self.wires.iter().for_each(Proxy::heal);
    }

    /// Kills a node and starts it again with its old command line.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].kill();
        self.start_again(node);
    }

    /// Starts a node again that was killed.
    pub fn start_again(&mut self, node: usize) {
        self.nodes[node].start_again();
        self.wires[node].leads_to(&self.nodes[node].listen());
    }
}

/// A program that listens anywhere and is dialled through a wire.
pub fn at(program: &'static str, data: &Path, wire: &Proxy, options: &[&str]) -> Launch {
    let address = wire.address();
    Launch::new(program, data).with(["--listen", "127.0.0.1:0", "--advertise", &address]).with(options)
}

/// A fresh join token.
pub fn token(master: &mut Program) -> String {
    master.ok("enable");
    master.ok("token")["token"].as_str().expect("a token").to_owned()
}

/// What a node holds, without where in its history.
pub fn content(digest: &Value) -> Value {
    serde_json::json!({ "digest": digest["digest"], "entries": digest["entries"], "bytes": digest["bytes"] })
}
