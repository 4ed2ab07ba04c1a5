//! A certificate authority of the test's own, and what it signs for nginx.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::succeed;

pub struct Certificate {
    /// What a client has to trust.
    pub authority: PathBuf,
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// For `host` (a name) and for 127.0.0.1.
    pub fn issue(dir: &Path, host: &str) -> Certificate {
        let file = |name: &str| dir.join(name);
        let certificate = Certificate { authority: file("ca.pem"), chain: file("server.pem"), key: file("server.key") };
        let names = format!("subjectAltName=DNS:{host},IP:127.0.0.1");
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        succeed(Command::new("openssl").args(["req", "-x509", "-subj", "/CN=Authority of a test"]).args(key).args([
            "-keyout".as_ref(),
            file("ca.key").as_os_str(),
            "-out".as_ref(),
            certificate.authority.as_os_str(),
        ]));
        succeed(
            Command::new("openssl")
                .args(["req", "-x509", "-subj", "/CN=A test's site", "-addext", &names])
                .args(["-addext", "basicConstraints=critical,CA:FALSE"])
                .args(key)
                .args([
                    "-CA".as_ref(),
                    certificate.authority.as_os_str(),
                    "-CAkey".as_ref(),
                    file("ca.key").as_os_str(),
                    "-keyout".as_ref(),
                    certificate.key.as_os_str(),
                    "-out".as_ref(),
                    certificate.chain.as_os_str(),
                ]),
        );
        certificate
    }
}
