//! Certificates made when a test starts: `cert NAME …` lines of a case file say which.
//!
//! Both sides of a comparison use the same ones, so that everything derived from them (hashes,
//! subjects, what goes into x-forwarded-client-cert) can be compared.

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PublicKeyData, RevokedCertParams, RsaKeySize, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::BTreeMap;
use std::path::Path;

#[cfg(test)]
mod tests;

/// One `cert` line.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    ca: bool,
    by: Option<String>,
    words: Vec<(String, String)>,
    revoked: bool,
    expired: bool,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Cert {
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    /// The certificate and the authorities above it, without the root.
    chain: Vec<CertificateDer<'static>>,
    pem: String,
    key: KeyPair,
    params: CertificateParams,
    by: Option<String>,
    revoked: bool,
}

/// All certificates of a case file.
#[derive(Debug, Default)]
pub struct Store {
    certs: BTreeMap<String, Cert>,
}

impl Spec {
    /// Parses `NAME [ca] [by=CA] [revoked] [expired] [cn=…] [dns=…] [uri=…] [ip=…] [email=…]
    /// [key=p256|p384|rsa|ed25519] [usage=server|client]`.
    ///
    /// # Errors
    /// A word that is none of these.
    pub fn parse(words: &[String]) -> Result<Self> {
        let name = words.first().context("expected: cert NAME …")?.clone();
        let mut spec =
            Self { name, ca: false, by: None, words: Vec::new(), revoked: false, expired: false };
        for word in &words[1..] {
            match word.as_str() {
                "ca" => spec.ca = true,
                "revoked" => spec.revoked = true,
                "expired" => spec.expired = true,
                other => {
                    let (key, value) =
                        other.split_once('=').with_context(|| format!("unknown word {other}"))?;
                    match key {
                        "by" => spec.by = Some(value.to_owned()),
                        "cn" | "o" | "dns" | "uri" | "ip" | "email" | "key" | "usage" => {
                            spec.words.push((key.to_owned(), value.to_owned()));
                        }
                        _ => bail!("unknown word {key}="),
                    }
                }
            }
        }
        Ok(spec)
    }

    fn of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.words.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn params(&self, serial: u8) -> Result<CertificateParams> {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after =
            if self.expired { date_time_ymd(2025, 1, 1) } else { date_time_ymd(2048, 1, 1) };
        params.serial_number = Some(SerialNumber::from(vec![0x52, serial]));
        params.use_authority_key_identifier_extension = self.by.is_some();
        params.distinguished_name = DistinguishedName::new();
        for organisation in self.of("o") {
            params.distinguished_name.push(DnType::OrganizationName, organisation);
        }
        // An empty value asks for a certificate without a common name.
        let common = self.of("cn").next().unwrap_or(&self.name);
        if !common.is_empty() {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        for (key, value) in &self.words {
            let san = match key.as_str() {
                "dns" => SanType::DnsName(value.as_str().try_into()?),
                "uri" => SanType::URI(value.as_str().try_into()?),
                "email" => SanType::Rfc822Name(value.as_str().try_into()?),
                "ip" => SanType::IpAddress(value.parse()?),
                "usage" => {
                    params.extended_key_usages.push(match value.as_str() {
                        "server" => ExtendedKeyUsagePurpose::ServerAuth,
                        "client" => ExtendedKeyUsagePurpose::ClientAuth,
                        other => bail!("unknown usage {other}"),
                    });
                    continue;
                }
                _ => continue,
            };
            params.subject_alt_names.push(san);
        }
        if self.ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        } else {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }
        Ok(params)
    }

    fn key(&self) -> Result<KeyPair> {
        Ok(match self.of("key").next().unwrap_or("p256") {
            "p256" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
            "p384" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?,
            "ed25519" => KeyPair::generate_for(&rcgen::PKCS_ED25519)?,
            "rsa" => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)?,
            other => bail!("unknown key {other} (p256, p384, ed25519, rsa)"),
        })
    }
}

impl Store {
    /// Makes all of them, in their order: an authority before what it signs.
    ///
    /// # Errors
    /// An unknown authority, or a name that cannot stand in a certificate.
    pub fn make(specs: &[Spec]) -> Result<Self> {
        let mut store = Self::default();
        for (at, spec) in specs.iter().enumerate() {
            let cert = store.one(spec, at as u8 + 1).with_context(|| spec.name.clone())?;
            store.certs.insert(spec.name.clone(), cert);
        }
        Ok(store)
    }

    fn one(&self, spec: &Spec, serial: u8) -> Result<Cert> {
        let (params, key) = (spec.params(serial)?, spec.key()?);
        let (made, above) = match &spec.by {
            None => (params.self_signed(&key)?, vec![]),
            Some(by) => {
                let above = self.get(by)?;
                let issuer = Issuer::from_params(&above.params, &above.key);
                // The root is what the other side knows already.
                let chain = if above.by.is_some() { above.chain.clone() } else { vec![] };
                (params.signed_by(&key, &issuer)?, chain)
            }
        };
        let mut pem = made.pem();
        for der in &above {
            pem.push_str(&self.pem_of(der));
        }
        let der = made.der().clone();
        let chain = std::iter::once(der.clone()).chain(above).collect();
        Ok(Cert { der, chain, pem, key, params, by: spec.by.clone(), revoked: spec.revoked })
    }

    fn pem_of(&self, der: &CertificateDer<'_>) -> String {
        let own = |cert: &&Cert| cert.der == *der;
        let end = "-----END CERTIFICATE-----";
        let first = |pem: &String| pem.find(end).map(|at| format!("{}\n", &pem[..at + end.len()]));
        self.certs.values().find(own).and_then(|cert| first(&cert.pem)).unwrap_or_default()
    }

    /// The certificate of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> Result<&Cert> {
        self.certs.get(name).with_context(|| format!("no certificate {name}"))
    }

    /// The name of a certificate; `?` when it is none of these.
    #[must_use]
    pub fn name_of(&self, der: &CertificateDer<'_>) -> &str {
        let own = self.certs.iter().find(|(_, cert)| cert.der == *der);
        own.map_or("?", |(name, _)| name.as_str())
    }

    /// What `{{KIND:NAME}}` stands for in a configuration: `cert` and `key` are files with the
    /// chain and its key, `ca` the same file as `cert`, `crl` a file with what the authority
    /// revoked; `sha256` is the hash of a certificate, `spki` that of its public key in base64.
    /// Files are written to `dir`.
    ///
    /// # Errors
    /// Unknown, or a file cannot be written.
    pub fn placeholder(&self, name: &str, dir: &Path) -> Result<String> {
        let (kind, name) = name.split_once(':').context("expected {{KIND:NAME}}")?;
        let cert = self.get(name)?;
        let write = |suffix: &str, text: String| -> Result<String> {
            let path = dir.join(format!("{name}.{suffix}"));
            std::fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        Ok(match kind {
            "cert" | "ca" => write("pem", cert.pem.clone())?,
            "key" => write("key", cert.key.serialize_pem())?,
            "crl" => write("crl", self.crl(name)?)?,
            "sha256" => hex(digest::digest(&digest::SHA256, &cert.der).as_ref()),
            "spki" => {
                let spki = cert.key.subject_public_key_info();
                base64(digest::digest(&digest::SHA256, &spki).as_ref())
            }
            "pem64" => base64(cert.pem.as_bytes()),
            "key64" => base64(cert.key.serialize_pem().as_bytes()),
            other => bail!("unknown placeholder {other}: (cert, ca, key, crl, sha256, spki)"),
        })
    }

    fn crl(&self, name: &str) -> Result<String> {
        let authority = self.get(name)?;
        let revoked = self.certs.values().filter(|cert| cert.revoked);
        let mut revoked_certs = Vec::new();
        for cert in revoked.filter(|cert| cert.by.as_deref() == Some(name)) {
            revoked_certs.push(RevokedCertParams {
                serial_number: cert.params.serial_number.clone().context("no serial number")?,
                revocation_time: date_time_ymd(2024, 6, 1),
                reason_code: None,
                invalidity_date: None,
            });
        }
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 6, 2),
            next_update: date_time_ymd(2047, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        ensure!(matches!(authority.params.is_ca, IsCa::Ca(_)), "{name} is no authority");
        let issuer = Issuer::from_params(&authority.params, &authority.key);
        Ok(list.signed_by(&issuer)?.pem()?)
    }
}

impl Cert {
    /// What rustls wants of it.
    #[must_use]
    pub fn for_rustls(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        (self.chain.clone(), key.into())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Base64 with padding (RFC 4648 section 4).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let word = part.iter().chain([&0, &0]).take(3).fold(0_u32, |w, b| w << 8 | u32::from(*b));
        for at in 0..4 {
            let sign = SIGNS[(word >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= part.len() { char::from(sign) } else { '=' });
        }
    }
    out
}
