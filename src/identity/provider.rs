//! The cryptography provider that this build contains.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as built_in;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
use rustls::crypto::ring as built_in;
#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("shadowpair needs one of the features `aws-lc-rs` and `ring`");

/// The default provider of this build: aws-lc-rs if that is built in, else ring.
pub fn default_provider() -> Arc<CryptoProvider> {
    Arc::new(built_in::default_provider())
}

/// SHA-256 by the default provider. `None` if that provider had no TLS 1.3, which does not happen.
pub(super) fn sha256(bytes: &[u8]) -> Option<[u8; 32]> {
    let suite = built_in::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13()?;
    suite.common.hash_provider.hash(bytes).as_ref().try_into().ok()
}
