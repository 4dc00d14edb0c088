//! Words, quotes and escapes of the case language, and bodies as text.

use anyhow::{Context, Result, bail};
use std::time::Duration;

/// A word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Without quotes.
    Bare(String),
    /// In quotes, escapes resolved.
    Quoted(Vec<u8>),
}

impl Word {
    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Bare(word) => word.clone(),
            // One char per byte, so that a header line may hold any byte.
            Self::Quoted(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    /// As bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bare(word) => word.clone().into_bytes(),
            Self::Quoted(bytes) => bytes.clone(),
        }
    }

    /// As a number.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self) -> Result<usize> {
        let text = self.text();
        text.parse().with_context(|| format!("{text} is no number"))
    }

    /// As `200ms` or `2s`.
    ///
    /// # Errors
    /// It is neither.
    pub fn duration(&self) -> Result<Duration> {
        let text = self.text();
        if let Some(ms) = text.strip_suffix("ms") {
            return Ok(Duration::from_millis(ms.parse()?));
        }
        let seconds = text.strip_suffix('s').with_context(|| format!("{text}: write ms or s"))?;
        Ok(Duration::from_secs(seconds.parse()?))
    }
}

/// Splits a line at spaces; a word that begins with `"` goes to the closing quote.
///
/// # Errors
/// A quote without its end, or an unknown escape.
pub fn words(line: &str) -> Result<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = closing_quote(quoted).context("a quote has no end")?;
            words.push(Word::Quoted(unescape(&quoted[..end])?));
            rest = quoted[end + 1..].trim_start();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(Word::Bare(rest[..end].to_owned()));
            rest = rest[end..].trim_start();
        }
    }
    Ok(words)
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|b| {
        let end = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        end
    })
}

/// Resolves `\r \n \t \0 \" \\ \s` (a space), `\xNN`, and `\{TEXT*N}` (TEXT N times).
///
/// # Errors
/// Any other escape.
pub fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let code = rest.chars().next().context("a \\ at the end")?;
        rest = &rest[code.len_utf8()..];
        match code {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            's' => out.push(b' '),
            '"' | '\\' => out.push(code as u8),
            'x' => {
                let hex = rest.get(..2).context("\\x wants two digits")?;
                out.push(u8::from_str_radix(hex, 16)?);
                rest = &rest[2..];
            }
            '{' => {
                let end = rest.find('}').context("\\{ has no }")?;
                let (what, times) = rest[..end].rsplit_once('*').context("\\{TEXT*N}")?;
                out.extend(unescape(what)?.repeat(times.parse()?));
                rest = &rest[end + 1..];
            }
            other => bail!("unknown escape \\{other}"),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// A body as one line: itself when short, otherwise its length and a checksum (FNV-1a).
#[must_use]
pub fn body(bytes: &[u8]) -> String {
    if bytes.len() > 400 {
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| {
            (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
        });
        return format!("{} bytes, checksum {hash:016x}", bytes.len());
    }
    format!("\"{}\"", bytes.escape_ascii())
}

/// A body as lines after a title: line by line when it is a text of several lines, so that what
/// differs between runs can be masked and what differs between proxies be seen.
#[must_use]
pub fn body_lines(title: &str, bytes: &[u8]) -> Vec<String> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() < 200_000 && text.matches('\n').count() > 1 => text,
        _ => return vec![format!("{title} {}", body(bytes))],
    };
    let lines = text.split('\n').map(|line| format!("| {}", line.escape_debug()));
    std::iter::once(title.to_owned()).chain(lines).collect()
}
