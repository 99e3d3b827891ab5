//! The procedures of `docs/OPERATIONS.md`, run word for word.
//!
//! A block that is marked `console` is a procedure on two machines, `a` and `b`:
//!
//! | line | what it is |
//! |---|---|
//! | `a$ master --data …` | starts a program on machine a |
//! | `a> put k v` | a command to it, which must succeed |
//! | `a> status  # role master, link.state connected` | the same, repeated until the answer is so |
//! | `a# rm -r …` | a command of the shell on machine a; `kill -9` ends the program there, and `scp` copies from the other machine |
//!
//! A block that is marked `console pair` begins with a pair that was enrolled as the procedure "First start" says. Only addresses
//! and directories are replaced by those of the test, and `TOKEN` by the last token that a command returned.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{FAST, Launch, Program, turn};

const MANUAL: &str = include_str!("../../docs/OPERATIONS.md");
const FIRST_START: &str = "First start";
/// Tests over which the procedures are spread.
const PARTS: usize = 4;

/// Two machines, and what runs on them.
struct Machines {
    root: TempDir,
    /// Where the program on each listens, in place of `10.0.0.1:7443` and `10.0.0.2:7443`.
    addresses: [String; 2],
    programs: [Option<Program>; 2],
    token: String,
}

impl Machines {
    fn new() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [free(), free()];
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
        let root = tempfile::tempdir().unwrap();
        for machine in ["a", "b"] {
            fs::create_dir_all(root.path().join(machine).join("lib")).unwrap();
        }
        Self { root, addresses, programs: [None, None], token: String::new() }
    }

    /// Runs the lines of a procedure.
    fn follow(&mut self, procedure: &str) {
        for line in procedure.lines().filter(|line| !line.trim().is_empty()) {
            let (prompt, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?} has no prompt"));
            let machine = usize::from(prompt.starts_with('b'));
            let (said, expected) = rest.split_once("  # ").unwrap_or((rest, ""));
            let said = self.in_the_test(machine, said.trim());
            match &prompt[1..] {
                "$" => self.start(machine, &said),
                ">" => self.say(machine, &said, expected),
                "#" => self.shell(machine, &said),
                _ => panic!("{line:?} begins with no prompt"),
            }
        }
    }

    fn in_the_test(&self, machine: usize, text: &str) -> String {
        let lib = self.root.path().join(["a", "b"][machine]).join("lib");
        let text = text.replace("/var/lib", lib.to_str().unwrap()).replace("TOKEN", &self.token);
        text.replace("10.0.0.1:7443", &self.addresses[0]).replace("10.0.0.2:7443", &self.addresses[1])
    }

    fn start(&mut self, machine: usize, line: &str) {
        let mut words = line.split(' ');
        let program = match words.next() {
            Some("master") => "master",
            Some("shadow") => "shadow",
            other => panic!("{other:?} is no program"),
        };
        let launch = Launch { program, arguments: vec!["--json".into()], wrapper: Vec::new() };
        let options = FAST.iter().copied().filter(|_| !line.contains("--heartbeat"));
        self.programs[machine] = Some(launch.with(words).with(options).start());
    }

    fn say(&mut self, machine: usize, command: &str, expected: &str) {
        let program = self.programs[machine].as_mut().unwrap_or_else(|| panic!("nothing runs for {command:?}"));
        let wanted: Vec<(String, Value)> =
            expected.split(", ").filter(|part| !part.is_empty()).map(expectation).collect();
        let is_so = |reply: &Value| {
            reply["ok"] == true && wanted.iter().all(|(path, value)| reply.pointer(path) == Some(value))
        };
        let reply = program.until(command, expected, |reply| wanted.is_empty() || is_so(reply));
        program.check(reply["ok"] == true, &format!("{command:?} is answered by {reply}"));
        if let Some(token) = reply["token"].as_str() {
            self.token = token.to_owned();
        }
        if command == "quit" {
            program.ends_well();
            self.programs[machine] = None;
        }
    }

    fn shell(&mut self, machine: usize, command: &str) {
        if command == "kill -9" {
            return self.programs[machine].take().unwrap_or_else(|| panic!("nothing runs")).kill();
        }
        // The other machine is another directory.
        let other = self.root.path().join(["b", "a"][machine]).join("lib");
        let copied = command.strip_prefix("scp 10.0.0.").and_then(|rest| rest.split_once(':'));
        let command = match copied.and_then(|(_, paths)| paths.split_once(' ')) {
            Some((from, to)) => {
                let name = Path::new(from).file_name().unwrap_or_else(|| panic!("{command:?} names no file"));
                format!("cp {} {to}", other.join(name).display())
            }
            None => command.to_owned(),
        };
        let status = Command::new("sh").args(["-ec", &command]).status().unwrap();
        assert!(status.success(), "{command:?} ends with {status}");
    }
}

/// `link.state connected` as a pointer into JSON and a value.
fn expectation(text: &str) -> (String, Value) {
    let (path, value) = text.split_once(' ').unwrap_or_else(|| panic!("{text:?} is no expectation"));
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    (format!("/{}", path.replace('.', "/")), value)
}

/// The procedures of the manual: title, whether it begins with a pair, lines.
fn procedures(manual: &str) -> Vec<(String, bool, String)> {
    let (mut title, mut found) = (String::new(), Vec::new());
    let mut open: Option<(bool, String)> = None;
    for line in manual.lines() {
        match (line, &mut open) {
            ("```", Some(_)) => {
                let (begins_with_pair, lines) = open.take().unwrap_or_default();
                found.push((title.clone(), begins_with_pair, lines));
            }
            (line, Some((_, lines))) => lines.extend([line, "\n"]),
            ("```console", None) => open = Some((false, String::new())),
            ("```console pair", None) => open = Some((true, String::new())),
            (line, None) => title = line.strip_prefix("### ").map_or(title, str::to_owned),
        }
    }
    found
}

/// Runs the procedures whose number leaves this rest, so that they are spread over several tests.
fn run(rest: usize) {
    let _turn = turn();
    let all = procedures(MANUAL);
    let first_start = &all.iter().find(|(title, ..)| title == FIRST_START).unwrap().2;
    for (title, begins_with_pair, lines) in all.iter().skip(rest).step_by(PARTS) {
        println!("{title}");
        let mut machines = Machines::new();
        if *begins_with_pair {
            machines.follow(first_start);
        }
        machines.follow(lines);
    }
}

#[test]
fn the_procedures_of_the_manual_work_word_for_word() {
    run(0);
}

#[test]
fn the_second_part_of_the_procedures_works_word_for_word() {
    run(1);
}

#[test]
fn the_third_part_of_the_procedures_works_word_for_word() {
    run(2);
}

#[test]
fn the_fourth_part_of_the_procedures_works_word_for_word() {
    run(3);
}

#[test]
fn the_manual_has_procedures_and_the_runner_reads_them() {
    assert!(procedures(MANUAL).len() >= 13, "{:?}", procedures(MANUAL));
    let text = "### One\n\n```console pair\na> status  # link.state connected, in_sync true\n```\n";
    let lines = "a> status  # link.state connected, in_sync true\n";
    assert_eq!(procedures(text), [("One".to_owned(), true, lines.to_owned())]);
    assert_eq!(expectation("link.state connected"), ("/link/state".to_owned(), Value::from("connected")));
    assert_eq!(expectation("in_sync true"), ("/in_sync".to_owned(), Value::from(true)));
    assert!(Path::new(&Machines::new().in_the_test(0, "/var/lib/pair")).ends_with("a/lib/pair"));
}
