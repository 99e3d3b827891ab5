//! Who may enrol: users of the master's host, those who guess, and those who listen in between.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection};
use serde_json::Value;

use crate::harness::{FAST, Launch, Program, Proxy, WAIT_MAX, lone_master, token, turn};
use crate::hostile::{client, provider, stranger};
use crate::refusals::{is_refused, join, unpermitted};

const PASSWORD: &str = "correct horse battery staple";

/// A master whose host knows the user `admin`, and where things are.
struct Office {
    dir: tempfile::TempDir,
    wire: Proxy,
    master: Program,
}

impl Office {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let users = dir.path().join("users");
        let data = dir.path().join("a");
        let add = Launch::new("master", &data).with(["--users", users.to_str().unwrap(), "--add-user", "admin"]);
        let password = format!("SHADOWPAIR_PASSWORD={PASSWORD}");
        let add = Launch { wrapper: vec!["env".into(), password.into()], ..add };
        let (status, output, error) = add.run();
        assert!(status.success() && !data.exists(), "{output}{error}");
        assert!(!fs::read_to_string(&users).unwrap().contains("horse"));
        let wire = Proxy::new();
        let options = [FAST, &["--users", users.to_str().unwrap()]].concat();
        let mut master = lone_master(&data, &wire, &options);
        master.ok("enable");
        Self { dir, wire, master }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fingerprint(&mut self) -> String {
        self.master.ok("status")["fingerprint"].as_str().unwrap().to_owned()
    }

    /// The first start of a shadow as this user.
    fn joining(&mut self, name: &str, user: &str, password: &str) -> Launch {
        let fingerprint = self.fingerprint();
        as_user(&self.wire.address(), &self.path(name), &fingerprint, (user, password))
    }
}

/// The first start of a shadow of the master at this address, as this user.
fn as_user(master: &str, data: &Path, fingerprint: &str, (user, password): (&str, &str)) -> Launch {
    let file = data.with_extension("password");
    fs::write(&file, format!("{password}\n")).unwrap();
    let join = ["--listen", "127.0.0.1:0", "--master", master, "--fingerprint", fingerprint, "--user", user];
    let launch = Launch::new("shadow", data).with(join).with(FAST.iter().copied());
    launch.with(["--password-file", file.to_str().unwrap()])
}

#[test]
fn a_user_with_a_password_enrols_a_shadow_and_one_only() {
    let _turn = turn();
    let mut office = Office::open();
    office.master.ok("put k v");
    let mut shadow = office.joining("b", "admin", PASSWORD).start();
    shadow.status("the pair to be in sync", |status| status["in_sync"] == true);
    let second = office.joining("c", "admin", PASSWORD);
    let error = is_refused(&second, &office.path("c"));
    assert!(error.contains("enrolment_closed"), "{error}");
    // The same command line is right after a restart, although nobody may enrol now.
    shadow.kill();
    shadow.start_again();
    shadow.status("the pair to be in sync", |status| status["in_sync"] == true);
}

/// User or password, or both: the answer is one and the same, and so is the alert.
#[test]
fn a_wrong_user_and_a_wrong_password_are_refused_alike() {
    let _turn = turn();
    let mut office = Office::open();
    let mut lines = Vec::new();
    for (name, user, password) in [("dir1", "admin", "correct horse"), ("dir2", "root", PASSWORD), ("dir3", "x", "y")] {
        let launch = office.joining(name, user, password);
        lines.push(is_refused(&launch, &office.path(name)).replace(name, ""));
    }
    assert!(lines[0].contains("wrong_proof"), "{lines:?}");
    assert!(lines.iter().all(|line| line == &lines[0]), "{lines:?}");
    let alerts = office.master.alerts_until("the alert", unpermitted);
    let messages: Vec<_> = alerts.iter().filter(|alert| alert["kind"] == "unpermitted_peer").collect();
    assert_eq!(messages.len(), 1, "{alerts:?}");
    assert_eq!(messages[0]["count"], 3, "{alerts:?}");
    let mut shadow = office.joining("b", "admin", PASSWORD).start();
    shadow.status("the right one to do", |status| status["in_sync"] == true);
    for program in [&office.master, &shadow] {
        program.check(!program.transcript().contains("horse"), "it has printed a password");
    }
}

/// Without `enable`, without `--users` and with a shadow nobody is asked for a password: the door is closed, and says no more.
#[test]
fn where_no_user_may_enrol_a_node_no_password_is_judged() {
    let _turn = turn();
    let mut office = Office::open();
    office.master.ok("disable");
    let right = office.joining("disabled", "admin", PASSWORD);
    let one = is_refused(&right, &office.path("disabled"));
    let wrong = office.joining("disabled", "admin", "wrong");
    assert_eq!(one, is_refused(&wrong, &office.path("disabled")));
    assert!(one.contains("enrolment_closed"), "{one}");

    let wire = Proxy::new();
    let mut without = lone_master(&office.path("without"), &wire, FAST);
    let open = token(&mut without);
    let fingerprint = without.ok("status")["fingerprint"].as_str().unwrap().to_owned();
    let data = office.path("x");
    let error = is_refused(&as_user(&wire.address(), &data, &fingerprint, ("admin", PASSWORD)), &data);
    assert!(error.contains("enrolment_closed"), "{error}");
    let mut shadow = join(&wire, &office.path("y"), &open).start();
    shadow.status("the token to do", |status| status["in_sync"] == true);
}

/// Bad arguments end with 2 before anybody is asked.
#[test]
fn half_of_the_credentials_are_a_bad_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("b");
    let print = "ab".repeat(32);
    for arguments in [
        &["--fingerprint", &print][..],
        &["--user", "admin"],
        &["--fingerprint", &print, "--user", "admin"],
        &["--fingerprint", "abc", "--user", "admin", "--password-file", "/dev/null"],
        &["--fingerprint", &print, "--user", "admin", "--token", "sp1-x"],
    ] {
        let (status, output, error) =
            Launch::new("shadow", &data).with(["--master", "127.0.0.1:1"]).with(arguments.iter().copied()).run();
        assert_eq!(status.code(), Some(2), "{arguments:?}: {output}{error}");
    }
    assert!(!data.exists() || fs::read_dir(&data).unwrap().count() <= 1);
}

/// Somebody in between with a key of his own, for whoever enrols with a token and with a password.
#[test]
fn a_man_in_the_middle_learns_nothing_and_nothing_is_enrolled() {
    let _turn = turn();
    let mut office = Office::open();
    let token = office.master.ok("token")["token"].as_str().unwrap().to_owned();
    let (address, heard) = interceptor();
    let fingerprint = office.fingerprint();
    let with_password = as_user(&address, &office.path("p"), &fingerprint, ("admin", PASSWORD));
    let with_token = ["--listen", "127.0.0.1:0", "--master", &address, "--token", &token];
    let with_token = Launch::new("shadow", &office.path("t")).with(with_token).with(FAST.iter().copied());
    for (launch, name) in [(with_password, "p"), (with_token, "t")] {
        let error = is_refused(&launch, &office.path(name));
        assert!(error.contains("intercepts"), "{error}");
        let heard = heard.recv_timeout(WAIT_MAX).unwrap();
        assert!(heard.is_empty(), "it was told {heard:?}");
    }
    assert_eq!(office.master.ok("status")["link"]["state"], "none");
    let mut shadow = join(&office.wire, &office.path("b"), &token).start();
    shadow.status("the token to be good still", |status| status["in_sync"] == true);
}

/// A TLS server with a key of its own that speaks the protocols of enrolment. Tells what each connection said to it inside TLS.
fn interceptor() -> (String, Receiver<Vec<u8>>) {
    let (certificate, key) = stranger();
    let config =
        ServerConfig::builder_with_provider(Arc::new(provider())).with_protocol_versions(&[&rustls::version::TLS13]);
    let mut config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"shadowpair-enrol/1".to_vec(), b"shadowpair-enrol/2".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, heard) = channel();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut tls = ServerConnection::new(config.clone()).unwrap();
            let mut said = Vec::new();
            _ = socket.set_read_timeout(Some(WAIT_MAX));
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            // As a master does that has accepted the handshake.
            _ = stream.write_all(&[1]);
            _ = stream.take(64 * 1024).read_to_end(&mut said);
            if tell.send(said).is_err() {
                return;
            }
        }
    });
    (address, heard)
}

/// What a shadow sent when it enrolled is worth nothing on another connection, even while the master would enrol another node.
#[test]
fn a_replayed_enrolment_is_refused() {
    let _turn = turn();
    let mut office = Office::open();
    let (recorder, recorded) = recorder(&office.master.listen());
    let fingerprint = office.fingerprint();
    let mut shadow = as_user(&recorder, &office.path("b"), &fingerprint, ("admin", PASSWORD)).start();
    shadow.status("the pair to be in sync", |status| status["in_sync"] == true);
    let recorded: Vec<Vec<u8>> = recorded.lock().unwrap().clone();
    assert!(recorded.iter().any(|bytes| bytes.len() > 500), "the enrolment went through the recorder");
    office.master.ok("replace-shadow");
    for bytes in &recorded {
        let mut socket = TcpStream::connect(office.master.listen()).unwrap();
        socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
        _ = socket.write_all(bytes);
        _ = socket.shutdown(std::net::Shutdown::Write);
        _ = socket.take(64 * 1024).read_to_end(&mut Vec::new());
    }
    let status = office.master.ok("status");
    assert_eq!((&status["link"]["state"], &status["serving"]), (&Value::from("none"), &Value::from(true)), "{status}");
}

/// Forwards to this address, and keeps what the dialler of each connection sent.
fn recorder(to: &str) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, to) = (listener.local_addr().unwrap().to_string(), to.to_owned());
    let kept: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let all = kept.clone();
    std::thread::spawn(move || {
        for (number, mut near) in listener.incoming().map_while(Result::ok).enumerate() {
            let Ok(mut far) = TcpStream::connect(&to) else { continue };
            let (Ok(mut near_again), Ok(mut far_again)) = (near.try_clone(), far.try_clone()) else { continue };
            all.lock().unwrap().push(Vec::new());
            let all = all.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(bytes @ 1..) = near.read(&mut buffer) {
                    all.lock().unwrap()[number].extend_from_slice(&buffer[..bytes]);
                    if far.write_all(&buffer[..bytes]).is_err() {
                        return;
                    }
                }
            });
            std::thread::spawn(move || _ = std::io::copy(&mut far_again, &mut near_again));
        }
    });
    (address, kept)
}

/// Asks to enrol with this request, which proves nothing, and returns the word of the refusal.
fn refusal(node: &Program, alpn: &[u8], request: &str) -> String {
    let golden = format!("{}/tests/golden/{request}.hex", env!("CARGO_MANIFEST_DIR"));
    let digits: String = fs::read_to_string(golden).unwrap().split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let request: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    let mut tls = client(Some(&stranger()), alpn);
    let mut socket = TcpStream::connect(node.listen()).unwrap();
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    stream.write_all(&request).unwrap();
    let mut heard = Vec::new();
    _ = stream.read_to_end(&mut heard);
    let text: String =
        heard.iter().filter(|byte| byte.is_ascii_lowercase() || **byte == b'_').map(|byte| char::from(*byte)).collect();
    node.check(!text.is_empty(), &format!("it answers {heard:?}"));
    text
}

/// Who guesses is slowed down, with either proof, and is told nothing but to wait. The alert says so.
#[test]
fn who_guesses_is_told_to_wait() {
    let _turn = turn();
    for (alpn, request) in
        [(b"shadowpair-enrol/1".as_slice(), "enrol-request"), (b"shadowpair-enrol/2", "enrol-authenticate")]
    {
        let mut office = Office::open();
        office.master.ok("token");
        for _ in 0..4 {
            assert_eq!(refusal(&office.master, alpn, request), "wrong_proof");
        }
        // The pause doubles, so that a slow machine comes too early as well.
        let waits = (0..20).any(|_| match refusal(&office.master, alpn, request).as_str() {
            "try_later" => true,
            word => {
                assert_eq!(word, "wrong_proof");
                false
            }
        });
        assert!(waits, "nobody is slowed down");
        let told =
            |alert: &Value| alert["message"].as_str().is_some_and(|message| message.contains("too many attempts"));
        office.master.alerts_until("the alert", |alerts| alerts.iter().any(told));
        // Who has the right proof gets in all the same, after the pause.
        let mut shadow = office.joining("b", "admin", PASSWORD).start();
        shadow.status("the pair to be in sync", |status| status["in_sync"] == true);
    }
}

/// A stranger does not learn that there is a shadow. Who knows a token does.
#[test]
fn who_has_proved_nothing_does_not_learn_the_state() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let wire = Proxy::new();
    let mut master = lone_master(&dir.path().join("a"), &wire, FAST);
    let (first, second) = (token(&mut master), token(&mut master));
    let mut shadow = join(&wire, &dir.path().join("b"), &first).start();
    shadow.status("the pair to be in sync", |status| status["in_sync"] == true);
    assert_eq!(refusal(&master, b"shadowpair-enrol/1", "enrol-request"), "wrong_proof");
    let error = is_refused(&join(&wire, &dir.path().join("c"), &second), &dir.path().join("c"));
    assert!(error.contains("shadow_enrolled"), "{error}");
}
