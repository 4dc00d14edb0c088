//! How a client connects and what a server speaks.

use super::{ClientKind, UpstreamOptions};
use crate::diff::text::Word;
use crate::h2;
use crate::tls::{ClientOptions, ServerOptions};
use anyhow::{Context, Result, bail};

/// `[h2] [manual] [set:NAME=VALUE …] [tls] [sni=NAME] [alpn=A,B] [cert=NAME] [version=1.2] [resume]
/// ["prefix"]`.
pub(super) fn client(words: &[Word]) -> Result<ClientKind> {
    let mut kind = ClientKind::default();
    let mut tls = ClientOptions::default();
    let mut has_tls = false;
    for word in words {
        let text = match word {
            Word::Quoted(bytes) => {
                kind.prefix.extend_from_slice(bytes);
                continue;
            }
            Word::Bare(text) => text.as_str(),
        };
        match text.split_once('=') {
            None => match text {
                "h2" => kind.h2 = true,
                "manual" => kind.manual = true,
                "tls" => has_tls = true,
                "resume" => tls.resume = true,
                _ => bail!("unknown word {text}"),
            },
            Some(("sni", name)) => tls.sni = Some(name.to_owned()),
            Some(("alpn", list)) => tls.alpn = split(list),
            Some(("cert", name)) => tls.cert = Some(name.to_owned()),
            Some(("version", version)) => version.clone_into(&mut tls.version),
            Some((key, value)) => kind.settings.push(setting(key, value)?),
        }
    }
    kind.tls = has_tls.then_some(tls);
    Ok(kind)
}

/// `[raw] [proxy] [manual] [set:NAME=VALUE …] [tls=CERT] [alpn=A,B] [client-ca=CA] [version=1.2]`.
pub(super) fn upstream(words: &[Word]) -> Result<UpstreamOptions> {
    let mut options = UpstreamOptions::default();
    let mut tls = ServerOptions::default();
    for word in words {
        let text = word.text();
        match text.split_once('=') {
            None => match text.as_str() {
                "raw" => options.raw = true,
                "proxy" => options.proxy = true,
                "manual" => options.manual = true,
                _ => bail!("unknown word {text}"),
            },
            Some(("tls", cert)) => cert.clone_into(&mut tls.cert),
            Some(("alpn", list)) => tls.alpn = split(list),
            Some(("client-ca", name)) => tls.client_ca = Some(name.to_owned()),
            Some(("version", version)) => version.clone_into(&mut tls.version),
            Some((key, value)) => options.settings.push(setting(key, value)?),
        }
    }
    options.tls = (!tls.cert.is_empty()).then_some(tls);
    Ok(options)
}

/// A setting of HTTP/2: `set:NAME=VALUE`.
pub(super) fn setting(key: &str, value: &str) -> Result<(u16, u32)> {
    let name = key.strip_prefix("set:").with_context(|| format!("unknown word {key}="))?;
    let id = h2::setting(name).with_context(|| format!("unknown setting {name}"))?;
    Ok((id, value.parse()?))
}

fn split(list: &str) -> Vec<String> {
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
