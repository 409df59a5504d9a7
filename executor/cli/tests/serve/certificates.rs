//! Certificates as an operator would have them made, by openssl.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority.
pub(crate) struct Authority {
    dir: PathBuf,
    name: String,
}

impl Authority {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let authority = Self {
            dir: dir.to_owned(),
            name: name.to_owned(),
        };
        let subject = format!("/CN=authority {name}");
        let (key, certificate) = (authority.path("key"), authority.path("pem"));
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]);
        let index = authority.path("index");
        fs::write(&index, "").unwrap();
        let settings = format!(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = {index}\nserial = {index}.serial\nunique_subject = no\npolicy = any\n\
             [any]\ncommonName = supplied\n"
        );
        fs::write(authority.path("cnf"), settings).unwrap();
        authority
    }

    /// Its certificate, which clients are given.
    pub(crate) fn file(&self) -> String {
        self.path("pem")
    }

    fn path(&self, kind: &str) -> String {
        self.dir
            .join(format!("{}.{kind}", self.name))
            .display()
            .to_string()
    }

    /// A certificate for 127.0.0.1 and its key, put where `to` is.
    pub(crate) fn sign(&self, to: &Pair) {
        self.sign_until(to, "20490101000000Z");
    }

    /// One that is good for nothing any more.
    pub(crate) fn sign_expired(&self, to: &Pair) {
        self.sign_until(to, "20200102000000Z");
    }

    fn sign_until(&self, to: &Pair, end: &str) {
        let request = format!("{}.csr", to.certificate);
        let extensions = format!("{}.ext", to.certificate);
        fs::write(&extensions, "subjectAltName=IP:127.0.0.1\n").unwrap();
        openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=davit",
            "-keyout",
            &to.key,
            "-out",
            &request,
        ]);
        openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-create_serial",
            "-md",
            "sha256",
            "-config",
            &self.path("cnf"),
            "-in",
            &request,
            "-cert",
            &self.path("pem"),
            "-keyfile",
            &self.path("key"),
            "-outdir",
            &self.dir.display().to_string(),
            "-startdate",
            "20200101000000Z",
            "-enddate",
            end,
            "-extfile",
            &extensions,
            "-out",
            &to.certificate,
        ]);
        fs::set_permissions(&to.key, Permissions::from_mode(0o600)).unwrap();
    }
}

/// Where a certificate and its key are.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            certificate: dir.join("server.pem").display().to_string(),
            key: dir.join("server.key").display().to_string(),
        }
    }

    /// The lines of a listener's settings.
    pub(crate) fn settings(&self) -> String {
        format!(
            "tls_certificate_file = \"{}\"\ntls_key_file = \"{}\"",
            self.certificate, self.key
        )
    }
}

fn openssl(arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).output();
    let done = done.expect("openssl is not installed (scripts/test does it)");
    assert!(done.status.success(), "{arguments:?}: {done:?}");
}
