//! As much of a Redis client as the workloads need: requests over TLS, and replies that are awaited in order.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls;

pub struct Client {
    stream: TlsStream<TcpStream>,
    requests: Vec<u8>,
    /// Replies that `requests` will have.
    awaited: usize,
    received: Vec<u8>,
}

/// A reply, as far as the workloads look at it.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// A status, a number, a string or nothing.
    One(Option<String>),
    Many(Vec<Reply>),
}

impl Client {
    pub async fn connect(config: Arc<ClientConfig>, port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(config).connect(tls::name(), stream).await?;
        Ok(Self { stream, requests: Vec::new(), awaited: 0, received: Vec::new() })
    }

    /// Adds a request, which [`Client::answers`] sends.
    pub fn add(&mut self, words: &[&[u8]]) {
        self.requests.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.requests.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.requests.extend_from_slice(word);
            self.requests.extend_from_slice(b"\r\n");
        }
        self.awaited += 1;
    }

    /// Sends what was added at once and waits for all replies. Returns the last one. A reply that is an error is a failure.
    pub async fn answers(&mut self) -> Reply {
        self.stream.write_all(&self.requests).await.unwrap();
        self.stream.flush().await.unwrap();
        self.requests.clear();
        let mut last = Reply::One(None);
        while self.awaited > 0 {
            let mut rest = self.received.as_slice();
            match take(&mut rest) {
                Some(reply) => {
                    let used = self.received.len() - rest.len();
                    self.received.drain(..used);
                    self.awaited -= 1;
                    last = reply;
                }
                None => {
                    let bytes = self.stream.read_buf(&mut self.received).await.unwrap();
                    assert!(bytes > 0, "the server closed the connection");
                }
            }
        }
        last
    }
}

/// Takes one reply off the front. `None` where it is not complete yet.
fn take(bytes: &mut &[u8]) -> Option<Reply> {
    let line = take_line(bytes)?;
    let (kind, rest) = line.split_at(1);
    match kind {
        "+" | ":" => Some(Reply::One(Some(rest.into()))),
        "$" => match rest.parse::<usize>() {
            Ok(length) => {
                let text = bytes.get(..length)?;
                *bytes = bytes.get(length + 2..)?;
                Some(Reply::One(Some(String::from_utf8_lossy(text).into_owned())))
            }
            Err(_) => Some(Reply::One(None)),
        },
        "*" => {
            let count: usize = rest.parse().unwrap_or(0);
            let replies: Option<Vec<Reply>> = (0..count).map(|_| take(bytes)).collect();
            replies.map(Reply::Many)
        }
        _ => panic!("Redis refuses: {line}"),
    }
}

fn take_line<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[..end]).expect("Redis speaks ASCII");
    *bytes = &bytes[end + 2..];
    Some(line)
}
