//! Certificates and contexts for tests.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};

use super::*;
use crate::observe::stats::{Registry, ShardStats, SslFactoryStats, SslStats};

/// An authority.
pub(crate) struct Ca {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

fn key(rsa: bool) -> KeyPair {
    let algorithm = if rsa { &rcgen::PKCS_RSA_SHA256 } else { &rcgen::PKCS_ECDSA_P256_SHA256 };
    KeyPair::generate_for(algorithm).unwrap()
}

impl Ca {
    /// A root.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key(false);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// An authority below this one; its chain goes with what it issues.
    pub(crate) fn below(&self, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key(false);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names: URIs have a scheme, all else is a host name.
    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        self.issue_with(names, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        self.issue_key(names, key(false), change)
    }

    pub(crate) fn issue_rsa(&self, names: &[&str]) -> Pair {
        self.issue_key(names, key(true), |_| {})
    }

    fn issue_key(
        &self,
        names: &[&str],
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.contains("://") {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        change(&mut params);
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { chain, key: key.serialize_pem() }
    }

    /// A revocation list with these serial numbers.
    pub(crate) fn revoke(&self, serials: &[u8]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[*serial]),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

pub(crate) fn inline(text: &str) -> Source {
    Source::Inline(Arc::from(text.as_bytes()))
}

impl Pair {
    pub(crate) fn recipe(&self) -> CertificateRecipe {
        CertificateRecipe {
            chain: inline(&self.chain),
            key: inline(&self.key),
            ocsp: None,
            watched: false,
        }
    }

    /// Writes it to two files and answers a recipe that names them.
    pub(crate) fn write(&self, folder: &Path) -> CertificateRecipe {
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        std::fs::write(&chain, &self.chain).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        CertificateRecipe {
            chain: Source::File(chain),
            key: Source::File(key),
            ocsp: None,
            watched: true,
        }
    }
}

/// What is accepted of a peer that this authority vouches for.
pub(crate) fn trust(ca: &Ca) -> ValidationRecipe {
    ValidationRecipe { trusted_ca: Some(inline(&ca.pem)), ..ValidationRecipe::default() }
}

/// A secret that nobody else uses.
pub(crate) fn secret(recipe: SecretRecipe) -> Result<Arc<Secret>, String> {
    Secret::load(Arc::from(""), recipe, false, &mut Unshared).map(Arc::new)
}

/// A slot that nobody else uses.
pub(crate) fn slot(recipe: SecretRecipe) -> Result<Arc<SecretSlot>, String> {
    let key = SlotKey { source: None, name: Arc::from(""), kind: recipe.kind() };
    Ok(Arc::new(SecretSlot::new(key, Some(secret(recipe)?))))
}

impl From<ValidationRecipe> for Validation {
    fn from(recipe: ValidationRecipe) -> Self {
        Self { default: None, slot: slot(SecretRecipe::Validation(recipe)).unwrap() }
    }
}

pub(crate) fn common(certificates: Vec<CertificateRecipe>) -> CommonRecipe {
    let mut suites = names::TLS13.to_vec();
    suites.extend(names::tls12_default());
    let groups = vec![names::group("X25519").unwrap(), names::group("P-256").unwrap()];
    let schemes = names::default_schemes().into();
    let certificates = certificates.into_iter();
    CommonRecipe {
        params: Arc::new(Params::new((true, true), suites, groups, schemes).unwrap()),
        certificates: certificates
            .map(|recipe| slot(SecretRecipe::Certificate(recipe)).unwrap())
            .collect(),
        validation: None,
        alpn: Arc::default(),
        key_log: None,
    }
}

pub(crate) fn server_recipe(certificates: Vec<CertificateRecipe>) -> ServerRecipe {
    ServerRecipe {
        common: common(certificates),
        require_client_certificate: false,
        ocsp_policy: OcspPolicy::Lenient,
        full_scan: false,
        prefer_client_ciphers: false,
        tickets: Some(TicketRecipe::Generated),
        stateful: true,
        session_timeout_s: 7200,
    }
}

pub(crate) fn client_recipe() -> ClientRecipe {
    ClientRecipe {
        common: common(Vec::new()),
        sni: Some(Arc::from("a.example")),
        auto_host_sni: false,
        match_sni: false,
        session_keys: 4,
        rsa_key_usage: true,
        auto: AutoNames::default(),
    }
}

/// Contexts of both ends, and the statistics they count in.
pub(crate) struct Ends {
    pub(crate) server: ServerContext,
    pub(crate) client: ClientContext,
    pub(crate) stats: ShardStats,
}

pub(crate) fn try_ends(server: ServerRecipe, client: ClientRecipe) -> Result<Ends, String> {
    let mut registry = Registry::new(1);
    let stats = registry.writer(0).unwrap();
    let names = SslStats::new(&mut registry, "listener.l.");
    let factory = SslFactoryStats::new(&mut registry, "listener.l.", "server");
    let server = ServerContext::new(server, names, factory)?;
    let names = SslStats::new(&mut registry, "cluster.c.");
    let factory = SslFactoryStats::new(&mut registry, "cluster.c.", "client");
    let client = ClientContext::new(client, names, factory)?;
    Ok(Ends { server, client, stats })
}

pub(crate) fn ends(server: ServerRecipe, client: ClientRecipe) -> Ends {
    try_ends(server, client).unwrap()
}
