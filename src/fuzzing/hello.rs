//! A handshake with somebody who sends these bytes and nothing more.

use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use crate::identity::{Identity, KeyExchange, OpenEnrolments, Pins, Tls, default_provider};
use crate::model::{KeyId, PinnedKeys};

/// Keys and certificates of simulated nodes, one after the other.
const IDENTITIES: &str = include_str!("../testing/identities.pem");
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";

/// The first byte chooses whether the node is dialled, while enrolments of either kind are open or closed, or dials. Nobody without a key gets in.
pub fn hello(bytes: &[u8]) {
    let Some((mode, stream)) = bytes.split_first() else { return };
    let stream = tokio::io::join(stream, tokio::io::sink());
    let tls = node();
    let got_in = match mode % 5 {
        4 => finished(async { tls.connect(stream).await.is_ok() }),
        open => {
            let open = OpenEnrolments { tokens: open & 1 != 0, users: open & 2 != 0 };
            finished(async { tls.accept(stream, open).await.is_ok() })
        }
    };
    assert!(!got_in, "bytes that prove nothing passed the handshake");
}

/// The node, which permits one key that nobody has.
fn node() -> &'static Tls {
    static NODE: OnceLock<Tls> = OnceLock::new();
    NODE.get_or_init(|| {
        let first = IDENTITIES.split(BEGIN).nth(1).expect("there is an identity");
        let identity = Identity::from_pem(&format!("{BEGIN}{first}")).expect("it can be read");
        let pins = Pins::new(Some(PinnedKeys::only(KeyId([9; 32]))));
        Tls::new(&identity, pins, default_provider(), KeyExchange::default()).expect("the provider knows the key")
    })
}

/// The output of work that waits for nothing.
fn finished<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = work.as_mut().poll(&mut context) {
            return output;
        }
    }
}
