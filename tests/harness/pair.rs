//! Two programs with a directory each, and the proxies between them.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{Launch, Program, Proxy, Witness};

/// Options with which a takeover takes half a second.
pub const FAST: &[&str] = &["--heartbeat", "100ms", "--takeover-delay", "500ms", "--hold-down", "0s"];

/// An enrolled pair. Its first node was started as `master`, its second as `shadow`. Each is dialled through its own proxy.
pub struct Pair {
    pub nodes: [Program; 2],
    /// The proxy in front of each node.
    pub proxies: [Proxy; 2],
    dir: TempDir,
}

impl Pair {
    /// Enrols a pair with these options on both nodes, and waits until it is in sync.
    pub fn enrol(options: &[&str]) -> Self {
        let mut pair = Self::enrolling(options);
        pair.in_sync();
        pair
    }

    /// The same for a synchronous pair with a witness, of these programs.
    pub fn witnessed(witness: &Witness, programs: [&'static str; 2]) -> Self {
        let options = witness.options();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut pair = Self::enrolling_as(programs, &options);
        pair.in_sync();
        pair
    }

    /// Enrols a pair without waiting until it is in sync.
    pub fn enrolling(options: &[&str]) -> Self {
        Self::enrolling_as(["master", "shadow"], options)
    }

    /// The same through proxies with which something was done before.
    pub fn enrolling_through(options: &[&str], prepare: impl Fn(&Proxy)) -> Self {
        Self::enrolling_with(["master", "shadow"], options, &[], prepare)
    }

    /// The same, and with a master that has executed these commands before.
    pub fn enrolling_after(options: &[&str], commands: &[&str], prepare: impl Fn(&Proxy)) -> Self {
        Self::enrolling_with(["master", "shadow"], options, commands, prepare)
    }

    fn enrolling_as(programs: [&'static str; 2], options: &[&str]) -> Self {
        Self::enrolling_with(programs, options, &[], |_| {})
    }

    fn enrolling_with(
        programs: [&'static str; 2],
        options: &[&str],
        commands: &[&str],
        prepare: impl Fn(&Proxy),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let proxies = [Proxy::new(), Proxy::new()];
        proxies.iter().for_each(prepare);
        let mut first = at(programs[0], &dir.path().join("first"), &proxies[0], options).start();
        proxies[0].forward_to(&first.listen());
        first.serving();
        commands.iter().for_each(|command| _ = first.ok(command));
        let token = token(&mut first);
        let join = ["--master", &proxies[0].address(), "--token", &token];
        let second = at(programs[1], &dir.path().join("second"), &proxies[1], options).with(join).start();
        proxies[1].forward_to(&second.listen());
        Self { nodes: [first, second], proxies, dir }
    }

    /// The directory that holds both data directories, `first` and `second`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until both nodes report that they are in sync at the same position. Returns what they hold.
    pub fn in_sync(&mut self) -> Value {
        loop {
            for node in &mut self.nodes {
                node.status("the pair to be in sync", |status| {
                    status["in_sync"] == true && status["link"]["state"] == "connected"
                });
            }
            let [one, other] = self.nodes.each_mut().map(|node| node.ok("digest"));
            // A change or a takeover may come between the two answers: ask again.
            if one["revision"] == other["revision"] {
                self.nodes[0].check(one["digest"] == other["digest"], "same position, different content");
                self.nodes[0].check(one["entries"] == other["entries"], "same digest, different number of entries");
                return content(&one);
            }
        }
    }

    /// Cuts both directions.
    pub fn cut(&self) {
        self.proxies.iter().for_each(Proxy::cut);
    }

    pub fn heal(&self) {
        self.proxies.iter().for_each(Proxy::heal);
    }

    /// Kills a node and starts it again with its old command line.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].kill();
        self.start_again(node);
    }

    /// Starts a node again that was killed.
    pub fn start_again(&mut self, node: usize) {
        self.nodes[node].start_again();
        self.proxies[node].forward_to(&self.nodes[node].listen());
    }
}

/// A program that listens on any port and is dialled through a proxy.
pub fn at(program: &'static str, data: &Path, proxy: &Proxy, options: &[&str]) -> Launch {
    let address = proxy.address();
    Launch::new(program, data).with(["--listen", "127.0.0.1:0", "--advertise", &address]).with(options)
}

/// A master that serves alone, and is dialled through this proxy.
pub fn lone_master(data: &Path, proxy: &Proxy, options: &[&str]) -> Program {
    let mut master = at("master", data, proxy, options).start();
    proxy.forward_to(&master.listen());
    master.serving();
    master
}

/// A fresh join token.
pub fn token(master: &mut Program) -> String {
    master.ok("enable");
    master.ok("token")["token"].as_str().expect("a token").to_owned()
}

/// What a node holds, without its position.
pub fn content(digest: &Value) -> Value {
    serde_json::json!({ "digest": digest["digest"], "entries": digest["entries"], "bytes": digest["bytes"] })
}
