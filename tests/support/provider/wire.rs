//! As much of HTTP/1.1 as the CLIs need, and TLS for whatever host they ask for.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// A request as it was read.
#[derive(Debug, Default)]
pub struct Incoming {
    pub method: String,
    /// As in the request line: a path, a URL, or `host:port` of a CONNECT.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Incoming {
    /// Reads one request; `None` when the peer closed before a complete one.
    pub fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > 65_536 || stream.read(&mut byte)? == 0 {
                return Ok(None);
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let mut request = Self {
            method: first.next().unwrap_or_default(),
            target: first.next().unwrap_or_default(),
            ..Self::default()
        };
        request.headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut body = Vec::new();
        if request.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            loop {
                let line = read_line(stream)?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
                stream.take(size).read_to_end(&mut body)?;
                read_line(stream)?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = request.header("content-length").and_then(|text| text.parse().ok())
            && stream.take(length).read_to_end(&mut body)? as u64 != length
        {
            return Ok(None);
        }
        request.body = String::from_utf8_lossy(&body).into_owned();
        Ok(Some(request))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn read_line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// An answer to be written.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Pause between pieces of the body.
    pub pause: Duration,
    /// End the connection in the middle of the body.
    pub truncated: bool,
}

impl Answer {
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub fn text(status: u16, content_type: &'static str, body: String) -> Self {
        Self { status, content_type, headers: Vec::new(), body, pause: Duration::ZERO, truncated: false }
    }

    /// Writes it; the connection is to be closed afterwards.
    pub fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} Stand-in\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        let body = self.body.as_bytes();
        let end = if self.truncated { body.len() / 2 } else { body.len() };
        let piece = if self.pause.is_zero() { end.max(1) } else { 16 };
        for chunk in body[..end].chunks(piece) {
            stream.write_all(chunk)?;
            stream.flush()?;
            std::thread::sleep(self.pause);
        }
        stream.flush()
    }
}

/// An authority that exists for one stand-in, and the certificates it made.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    made: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// A new authority and its certificate as PEM.
    pub fn new() -> (Arc<Self>, String) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "tokensink test authority");
        let key = KeyPair::generate().expect("ring makes keys");
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        (Arc::new(Self { issuer: Issuer::new(params, key), made: Mutex::default() }), pem)
    }

    /// A TLS configuration that is any host.
    pub fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        Arc::new(config)
    }

    fn certificate(&self, host: &str) -> Arc<CertifiedKey> {
        let mut made = self.made.lock().expect("nobody panics here");
        let entry = made.entry(host.to_owned()).or_insert_with(|| {
            let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host name");
            params.distinguished_name.push(DnType::CommonName, "tokensink test server");
            let key = KeyPair::generate().expect("ring makes keys");
            let certificate = params.signed_by(&key, &self.issuer).expect("the authority signs");
            let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
            let signer = rustls::crypto::ring::sign::any_ecdsa_type(&private).expect("an ECDSA key");
            Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signer))
        });
        Arc::clone(entry)
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Without a name it is an address; ours is the only one.
        Some(self.certificate(hello.server_name().unwrap_or("127.0.0.1")))
    }
}

/// A connection, encrypted or not.
pub trait Stream: Read + Write {
    /// Says goodbye as the protocol wants it.
    fn finish(&mut self);
}

impl Stream for TcpStream {
    fn finish(&mut self) {
        let _ = self.shutdown(std::net::Shutdown::Write);
    }
}

impl Stream for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
        self.sock.finish();
    }
}
