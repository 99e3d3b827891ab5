//! Certificates and TLS for the floor and for Redis.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as built_in;
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring as built_in;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// An authority, and one key and certificate of it that servers and clients share.
pub struct Authority {
    certificate: String,
    leaf: String,
    key: String,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key_der: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        // OpenSSL takes a certificate whose issuer has its own name for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
        let leaf = params.signed_by(&key, &authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        Self {
            certificate: authority.pem(),
            leaf: leaf.pem(),
            key: key.serialize_pem(),
            roots: Arc::new(roots),
            chain: vec![leaf.der().clone()],
            key_der: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem`.
    pub fn write_to(&self, dir: &Path) {
        for (file, pem) in [("ca.pem", &self.certificate), ("cert.pem", &self.leaf), ("key.pem", &self.key)] {
            std::fs::write(dir.join(file), pem).unwrap();
        }
    }

    pub fn client(&self) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(built_in::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.chain.clone(), self.key_der.clone_key());
        Arc::new(config.unwrap())
    }

    fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(built_in::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(self.chain.clone(), self.key_der.clone_key());
        Arc::new(config.unwrap())
    }

    /// A connection over loopback: its client, and its server.
    pub fn connection(&self) -> (StreamOwned<ClientConnection, TcpStream>, StreamOwned<ServerConnection, TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let client = ClientConnection::new(self.client(), name()).unwrap();
        let server = ServerConnection::new(self.server()).unwrap();
        (StreamOwned::new(client, near), StreamOwned::new(server, far))
    }
}

/// The name that the certificate is for.
pub fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}
