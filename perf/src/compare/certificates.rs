//! Certificates of the peers, made for one run.

use super::scenario::Key;
use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use std::fs;
use std::path::Path;

impl Key {
    /// As in file names.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::Rsa2048 => "rsa2048",
        }
    }

    fn generate(self) -> Result<KeyPair> {
        Ok(match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
        })
    }
}

/// Writes for each key `NAME.crt`, `NAME.key` and both in `NAME.pem`, as HAProxy wants them.
///
/// # Errors
/// No key, or the files cannot be written.
pub(super) fn write(dir: &Path) -> Result<()> {
    for key in [Key::P256, Key::Rsa2048] {
        let pair = key.generate().with_context(|| format!("a key {}", key.name()))?;
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let certificate = params.self_signed(&pair)?.pem();
        let private = pair.serialize_pem();
        let file = |what: &str| dir.join(format!("{}.{what}", key.name()));
        fs::write(file("pem"), format!("{certificate}{private}"))?;
        fs::write(file("crt"), certificate)?;
        fs::write(file("key"), private)?;
    }
    Ok(())
}
