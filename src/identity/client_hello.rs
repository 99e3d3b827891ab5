//! Reads the first message of a client, and finds out which protocol it asks for.

use std::io;

use rustls::server::{Accepted, Acceptor, ClientHello};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::{Refused, Stream};
use crate::model::limits::{CLIENT_HELLO_BYTES_MAX, KIB};

/// ALPN name of the link between two enrolled nodes.
pub(super) const ALPN_LINK: &[u8] = b"shadowpair/1";
/// ALPN name of the enrolment protocol.
pub(super) const ALPN_ENROL: &[u8] = b"shadowpair-enrol/1";
/// ALPN name of the enrolment protocol for a node that shows a user and a password.
pub(super) const ALPN_ENROL_USER: &[u8] = b"shadowpair-enrol/2";
/// The fatal alert `no_application_protocol`, as TLS sends it before there are keys.
const ALERT_NO_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// A protocol that a client may ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Link,
    Enrolment,
    UserEnrolment,
}

/// Which ways to enrol are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenEnrolments {
    /// With a join token.
    pub tokens: bool,
    /// With a user and a password.
    pub users: bool,
}

impl Protocol {
    pub(super) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Link => ALPN_LINK,
            Self::Enrolment => ALPN_ENROL,
            Self::UserEnrolment => ALPN_ENROL_USER,
        }
    }
}

/// Reads a TLS hello of at most [`CLIENT_HELLO_BYTES_MAX`] bytes.
pub(super) async fn read_client_hello<S: Stream>(stream: &mut S) -> Result<Accepted, Refused> {
    let mut acceptor = Acceptor::default();
    let mut buffer = [0; KIB];
    let mut first_bytes = None;
    let mut total = 0;
    let endless = || Refused::Unpermitted("a TLS hello that does not end".into());
    loop {
        let read = stream.read(&mut buffer).await.map_err(Refused::Broken)?;
        let mut bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Err(Refused::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let looks_like = *first_bytes.get_or_insert_with(|| guess(bytes));
        total += read;
        while !bytes.is_empty() {
            match acceptor.read_tls(&mut bytes) {
                Ok(taken) if taken > 0 => {}
                _ => return Err(endless()),
            }
        }
        match acceptor.accept() {
            Ok(Some(hello)) => return Ok(hello),
            Ok(None) if total <= CLIENT_HELLO_BYTES_MAX => {}
            Ok(None) => return Err(endless()),
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                if alert.write_all(&mut bytes).is_ok() {
                    close_with(stream, &bytes).await;
                }
                return Err(Refused::Unpermitted(match looks_like {
                    FirstBytes::Tls => format!("broken TLS: {error}").into(),
                    FirstBytes::Http => "an HTTP request".into(),
                    FirstBytes::Other => "something that is not TLS".into(),
                }));
            }
        }
    }
}

/// The protocol that a client asks for. A client that gets none is told so by a TLS alert.
pub(super) async fn choose_protocol<S: Stream>(
    hello: &Accepted,
    open: OpenEnrolments,
    stream: &mut S,
) -> Result<Protocol, Refused> {
    match wanted_protocol(&hello.client_hello(), open) {
        Ok(protocol) => Ok(protocol),
        Err(reason) => {
            close_with(stream, &ALERT_NO_PROTOCOL).await;
            Err(Refused::Unpermitted(reason.into()))
        }
    }
}

/// Which protocol a client asks for, or why it gets none.
fn wanted_protocol(hello: &ClientHello<'_>, open: OpenEnrolments) -> Result<Protocol, &'static str> {
    let offers = |alpn: &[u8]| hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == alpn));
    match () {
        () if offers(ALPN_LINK) => Ok(Protocol::Link),
        () if offers(ALPN_ENROL) && open.tokens => Ok(Protocol::Enrolment),
        () if offers(ALPN_ENROL_USER) && open.users => Ok(Protocol::UserEnrolment),
        () if offers(ALPN_ENROL) => Err("a request to enrol, while no join token is valid"),
        () if offers(ALPN_ENROL_USER) => Err("a request to enrol as a user, while none may"),
        () => Err("a TLS client of another protocol"),
    }
}

/// What the first bytes of a connection look like.
#[derive(Clone, Copy)]
enum FirstBytes {
    Tls,
    Http,
    Other,
}

fn guess(bytes: &[u8]) -> FirstBytes {
    const METHODS: [&[u8]; 8] = [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"CONN", b"PRI "];
    match bytes {
        [22, 3, ..] | [22] => FirstBytes::Tls,
        _ if METHODS.iter().any(|method| bytes.starts_with(method)) => FirstBytes::Http,
        _ => FirstBytes::Other,
    }
}

/// Sends the last bytes of a connection and closes it. Whether they arrive makes no difference here.
async fn close_with<S: Stream>(stream: &mut S, bytes: &[u8]) {
    if stream.write_all(bytes).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}
