//! Encryption of connections and checks of the server's identity: the parameters of a URL that
//! begin with `ssl`, with the meaning that libpq documents. The documentation of the crate lists
//! where this is stricter.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use retold_core::recording::Invalid;
use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_postgres::config::SslMode;

use super::server_check::{NameCheck, Roots, ServerCheck, Trust};

/// The encryption parameters of a URL, as written.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) mode: Option<String>,
    pub(crate) root: Option<String>,
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<String>,
}

/// The value that stands for the roots that the system trusts.
const SYSTEM: &str = "system";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// How connections are encrypted.
#[derive(Clone, Debug)]
pub(crate) struct Encryption {
    pub(crate) ssl_mode: SslMode,
    pub(crate) config: Arc<ClientConfig>,
}

impl Encryption {
    /// Reads the files that the parameters name.
    ///
    /// # Errors
    ///
    /// `Invalid` for unknown or contradictory parameters, or a file that cannot be used.
    pub(crate) fn new(wanted: &Wanted) -> Result<Self, Invalid> {
        let mode = mode(wanted)?;
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let check = ServerCheck::new(trust(mode, wanted.root.as_deref())?, algorithms);
        let config = builder(&provider)?
            .dangerous()
            .with_custom_certificate_verifier(check);
        let mut config = match client_certificate(mode, wanted)? {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).map_err(|error| {
                Invalid::new(format!(
                    "the certificate of sslcert and the key of sslkey cannot be used: {error}"
                ))
            })?,
            None => config.with_no_client_auth(),
        };
        // Servers from 17 on accept it without being asked, and require it if the client starts
        // with TLS at once.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self {
            ssl_mode: match mode {
                Mode::Disable => SslMode::Disable,
                Mode::Prefer => SslMode::Prefer,
                Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
            },
            config: Arc::new(config),
        })
    }
}

fn builder(
    provider: &Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Invalid> {
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions();
    builder.map_err(|error| Invalid::new(format!("TLS cannot be set up: {error}")))
}

fn mode(wanted: &Wanted) -> Result<Mode, Invalid> {
    let is_system = wanted.root.as_deref() == Some(SYSTEM);
    let mode = match wanted.mode.as_deref() {
        None if is_system => Mode::VerifyFull,
        None | Some("prefer") => Mode::Prefer,
        Some("disable") => Mode::Disable,
        Some("require") => Mode::Require,
        Some("verify-ca") => Mode::VerifyCa,
        Some("verify-full") => Mode::VerifyFull,
        Some("allow") => {
            return Err(Invalid::new(
                "sslmode=allow is not supported; write prefer, which tries encryption first".into(),
            ));
        }
        Some(other) => {
            return Err(Invalid::new(format!(
                "sslmode={other} is unknown; known are disable, prefer, require, verify-ca and \
                 verify-full"
            )));
        }
    };
    if is_system && mode != Mode::VerifyFull {
        return Err(Invalid::new(
            "sslrootcert=system trusts every certificate that the system trusts, so the name must \
             be checked too: write sslmode=verify-full"
                .into(),
        ));
    }
    if wanted.root.is_some() && matches!(mode, Mode::Disable | Mode::Prefer) {
        return Err(Invalid::new(
            "sslrootcert is used only if sslmode is require, verify-ca or verify-full; write \
             which is meant"
                .into(),
        ));
    }
    Ok(mode)
}

fn trust(mode: Mode, root: Option<&str>) -> Result<Trust, Invalid> {
    let names = match (mode, root) {
        (Mode::Disable | Mode::Prefer, _) | (Mode::Require, None) => return Ok(Trust::Anybody),
        (Mode::Require, Some(_)) => NameCheck::Ignored,
        (Mode::VerifyCa, None) => {
            return Err(Invalid::new(
                "sslmode=verify-ca needs sslrootcert=FILE: the certificates that sign your servers'"
                    .into(),
            ));
        }
        (Mode::VerifyCa, Some(_)) => NameCheck::Ignored,
        (Mode::VerifyFull, _) => NameCheck::Demanded,
    };
    let roots = match root {
        None | Some(SYSTEM) => system_roots()?,
        Some(file) => roots_of(file)?,
    };
    Ok(Trust::Roots(roots, names))
}

fn system_roots() -> Result<Roots, Invalid> {
    let found = rustls_native_certs::load_native_certs();
    match Roots::new(found.certs) {
        (roots, 1..) => Ok(roots),
        (_, 0) => Err(Invalid::new(
            "the system has no certificates that it trusts; install them (Debian: \
             ca-certificates) or write sslrootcert=FILE"
                .into(),
        )),
    }
}

fn roots_of(file: &str) -> Result<Roots, Invalid> {
    let certificates = certificates("sslrootcert", file)?;
    match Roots::new(certificates) {
        (roots, 1..) => Ok(roots),
        (_, 0) => Err(Invalid::new(format!(
            "sslrootcert: no certificate in {file} can be used as a root"
        ))),
    }
}

fn certificates(parameter: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let text = read(parameter, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Invalid::new(format!(
            "{parameter}: {file} contains no certificate; a PEM file is needed"
        ))),
        Err(error) => Err(Invalid::new(format!(
            "{parameter}: {file} is not a PEM file of certificates: {error}"
        ))),
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(mode: Mode, wanted: &Wanted) -> Result<Option<Identity>, Invalid> {
    let (certificate, key) = match (&wanted.certificate, &wanted.key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => {
            return Err(Invalid::new(
                "sslcert and sslkey belong together: the certificate of this client, and its key"
                    .into(),
            ));
        }
    };
    if mode == Mode::Disable {
        return Err(Invalid::new(
            "sslcert is used only on encrypted connections, and sslmode is disable".into(),
        ));
    }
    let chain = certificates("sslcert", certificate)?;
    refuse_what_others_may_read(Path::new(key))?;
    let text = read("sslkey", key)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        Invalid::new(format!(
            "sslkey: {key} contains no usable key ({error}); a PEM file without a password is \
             needed"
        ))
    })?;
    Ok(Some((chain, key)))
}

fn read(parameter: &str, file: &str) -> Result<Vec<u8>, Invalid> {
    fs::read(file).map_err(|error| {
        Invalid::new(format!(
            "{parameter}: the file {file} cannot be read: {error}"
        ))
    })
}

/// As in libpq: a key must belong to its owner alone, or to root and a group.
#[cfg(unix)]
fn refuse_what_others_may_read(key: &Path) -> Result<(), Invalid> {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = fs::metadata(key) else {
        return Ok(());
    };
    let others = if found.uid() == 0 { 0o037 } else { 0o077 };
    if found.mode() & others == 0 {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "sslkey: other users can read the key {0}; run chmod 600 {0}",
        key.display()
    )))
}

#[cfg(not(unix))]
fn refuse_what_others_may_read(_: &Path) -> Result<(), Invalid> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(wanted: [Option<&str>; 4], hint: &str) {
        let [mode, root, certificate, key] = wanted.map(|it| it.map(str::to_owned));
        let wanted = Wanted {
            mode,
            root,
            certificate,
            key,
        };
        let error = Encryption::new(&wanted).unwrap_err();
        assert!(error.to_string().contains(hint), "{wanted:?}: {error}");
    }

    #[test]
    fn contradictory_parameters_are_refused() {
        refused([Some("allow"), None, None, None], "write prefer");
        refused([Some("verify"), None, None, None], "verify-full");
        refused([Some("verify-ca"), None, None, None], "sslrootcert=FILE");
        refused(
            [Some("verify-ca"), Some("system"), None, None],
            "verify-full",
        );
        refused([None, Some("/x"), None, None], "which is meant");
        refused([Some("require"), Some("/none/x"), None, None], "/none/x");
        refused([None, None, Some("/x"), None], "belong together");
        refused([Some("disable"), None, Some("/x"), Some("/y")], "disable");
        let here = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        refused([Some("verify-full"), here, None, None], "no certificate");
    }

    #[test]
    fn modes_match_libpq() {
        let ssl_mode = |mode: Option<&str>| {
            let mode = mode.map(str::to_owned);
            let wanted = Wanted {
                mode,
                ..Wanted::default()
            };
            Encryption::new(&wanted).unwrap().ssl_mode
        };
        assert_eq!(ssl_mode(None), SslMode::Prefer);
        assert_eq!(ssl_mode(Some("prefer")), SslMode::Prefer);
        assert_eq!(ssl_mode(Some("disable")), SslMode::Disable);
        assert_eq!(ssl_mode(Some("require")), SslMode::Require);
    }
}
