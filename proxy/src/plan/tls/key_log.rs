//! `key_log`: secrets of connections for those who debug them, in the format of NSS.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use rustls::KeyLog;

use super::notes;

/// A range of addresses: network and prefix length.
pub(crate) type Range = (IpAddr, u8);

/// The file, and whose secrets go there.
#[derive(Debug)]
pub struct KeyLogFile {
    file: File,
    /// Empty: any.
    local: Vec<Range>,
    /// Empty: any.
    remote: Vec<Range>,
}

impl KeyLogFile {
    /// Opens or makes the file, to append to it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path, local: Vec<Range>, remote: Vec<Range>) -> std::io::Result<Self> {
        let file = File::options().append(true).create(true).open(path)?;
        Ok(Self { file, local, remote })
    }

    fn wanted(&self) -> bool {
        if self.local.is_empty() && self.remote.is_empty() {
            return true;
        }
        let Some((local, remote)) = notes::with(|notes| notes.addresses) else { return false };
        within(&self.local, local) && within(&self.remote, remote)
    }
}

fn within(ranges: &[Range], address: IpAddr) -> bool {
    ranges.is_empty() || ranges.iter().any(|range| contains(*range, address))
}

fn contains((network, len): Range, address: IpAddr) -> bool {
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let drop = width - u32::from(len).min(width);
    drop == 128 || network >> drop == address >> drop
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = String::with_capacity(label.len() + 200);
        line.push_str(label);
        for part in [client_random, secret] {
            line.push(' ');
            for byte in part {
                let _ = write!(line, "{byte:02x}");
            }
        }
        line.push('\n');
        // One write per line, so that lines of shards do not mix. A full disk loses lines: there
        // is nobody to tell, and the connection is worth more.
        let _ = (&self.file).write_all(line.as_bytes());
    }

    fn will_log(&self, _label: &str) -> bool {
        self.wanted()
    }
}
